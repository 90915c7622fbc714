//go:build gocat_net || !gocat_image

package kernel

import "gocat/internal/abi"

// Sockets are answered by package gocat/guest/net, in Go code of the program's
// own. The kernel has their descriptors, so that its poller can tell of them, and
// the words of the command line that are for the network. Images without sockets
// are built without this file.

const (
	withSockets = true
	maxFiles    = 16384
)

func socketCall(t *thread) int64 {
	switch t.rax {
	case abi.CallSocket:
		return newSocket(t.rdi, t.rsi != 0)
	case abi.CallNotify:
		f := fileOf(t.rdi)
		if f == nil || f.kind != socketFile {
			return errBADF
		}
		f.tell(uint32(t.rsi))
		return 0
	case abi.CallTold:
		toldCalls = true
		return int64(told)
	case abi.CallPoll:
		return poll(t, uintptr(t.rdi), t.rsi, int64(t.rdx), t.r10&(1<<32-1))
	case abi.CallReadFrames:
		return readFrames(t.rdi, uintptr(t.rsi), t.rdx)
	case abi.CallWriteFrames:
		return writeFrames(t, t.rdi, uintptr(t.rsi), t.rdx)
	case abi.CallWord:
		return netWord(t.rdi, uintptr(t.rsi), uintptr(t.rdx))
	}
	return errNOSYS
}

// tell makes the poller report events of a socket, each once.
func (f *file) tell(events uint32) {
	f.tells |= events
	f.armedIn = f.armedIn || events&^epollOut != 0
	f.armedOut = f.armedOut || events&epollOut != 0
	told++
	if f.polled || toldCalls {
		changed = true
	}
}

// newSocket makes a socket's descriptor, the lowest free one that is not below
// least. With replace that is closed before.
func newSocket(least uint64, replace bool) int64 {
	if least >= maxFiles {
		return errBADF
	}
	if replace {
		closeFile(least)
	}
	return newFileFrom(file{kind: socketFile}, openFile{access: openReadWrt, nonblock: true}, least)
}

// maxNetWords bounds the words for the network.
const maxNetWords = 16

var (
	netWords  [maxNetWords]uintptr // addresses
	nNetWords int
)

// The prefixes of those words. An image with sockets takes them away where they
// come before the program's own arguments.
var netPrefixes = [...]string{"--ipv4=", "--ipv4-gateway=", "--ipv6=", "--ipv6-gateway=", "--nameserver="}

// forNet says whether the word at addr is for the network.
func forNet(addr uintptr) bool {
	for _, p := range &netPrefixes {
		if prefix(addr, p) {
			return true
		}
	}
	return false
}

func forgetNetWords() { nNetWords = 0 }

func keepNetWord(addr uintptr) {
	if nNetWords < maxNetWords {
		netWords[nNetWords] = addr
		nNetWords++
	}
}

func netWord(i uint64, to, n uintptr) int64 {
	if i >= uint64(nNetWords) {
		return errNOENT
	}
	at := netWords[i]
	length := uintptr(0)
	for load8(at+length) != 0 {
		length++
	}
	move(to, at, min(length, n))
	return int64(length)
}
