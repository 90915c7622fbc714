//go:build gocat_image

package net

import (
	"encoding/binary"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"gocat/internal/abi"
)

// What package syscall of an image asks here, and where it looks whether a
// descriptor is a socket.

//go:linkname hook syscall.gocatCall
var hook func(trap uintptr, a [6]uintptr, p [6]unsafe.Pointer) (int64, bool)

//go:linkname setSocket syscall.gocatSetSocket
func setSocket(fd int, is bool)

//go:linkname onStack runtime.gocatOnStack
func onStack(p uintptr) bool

// maxDescriptors is maxFiles of the library kernel.
const maxDescriptors = 16384

func newDescriptor(least int, replace bool) (int, syscall.Errno) {
	closes := uintptr(0)
	if replace {
		closes = 1
	}
	fd, _, e := syscall.RawSyscall(abi.CallSocket, uintptr(least), closes, 0)
	return int(fd), e
}

// told is how often notifyDescriptor was called.
func told() uint32 {
	n, _, _ := syscall.RawSyscall(abi.CallTold, 0, 0, 0)
	return uint32(n)
}

// pollOthers is poll for the descriptors that are no sockets, for timeout or for
// ever if that is negative: EAGAIN if notifyDescriptor was called since was.
func pollOthers(fds []pollFD, timeout time.Duration, was uint32) (int, syscall.Errno) {
	n, _, e := syscall.Syscall6(abi.CallPoll, uintptr(unsafe.Pointer(unsafe.SliceData(fds))), uintptr(len(fds)), uintptr(timeout), uintptr(was), 0, 0)
	return int(n), e
}

// closeDescriptor comes after setSocket, so that the kernel answers it.
func closeDescriptor(fd int) { syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }

func notifyDescriptor(fd int, events uint32) {
	syscall.RawSyscall(abi.CallNotify, uintptr(fd), uintptr(events), 0)
}

func isOpen(fd uintptr) bool {
	_, _, e := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
	return e == 0
}

var (
	theDevice *device
	settings  config
)

func init() {
	var err error
	if settings, err = readConfig(words()); err != nil {
		refuse(err)
	}
	theDevice = findDevice()
	setNameservers(settings.nameservers)
	hook = Call
}

// words are those of the command line that the kernel has taken away for us.
func words() (all []string) {
	var b [256]byte
	for i := uintptr(0); ; i++ {
		n, _, e := syscall.RawSyscall(abi.CallWord, i, uintptr(unsafe.Pointer(&b)), uintptr(len(b)))
		if e != 0 {
			return all
		}
		all = append(all, string(b[:min(int(n), len(b))]))
	}
}

// findDevice returns the network device service, or the first one that is not
// standard input, or nil.
func findDevice() (found *device) {
	for h := uintptr(1); ; h++ {
		var b [abi.EntrySize]byte
		if _, _, e := syscall.RawSyscall(abi.CallDevice, h, uintptr(unsafe.Pointer(&b)), 0); e != 0 {
			return found
		}
		name, _, _ := strings.Cut(string(b[:abi.EntryType]), "\x00")
		if binary.LittleEndian.Uint32(b[abi.EntryType:]) != abi.DeviceNet || name == "stdin" || found != nil && name != "service" {
			continue
		}
		found = &device{
			name: name, mac: [6]byte(b[abi.EntryMAC:]), mtu: int(binary.LittleEndian.Uint16(b[abi.EntryMTU:])),
			open: func() (*os.File, error) { return os.OpenFile("/dev/solo5/"+name, os.O_RDWR, 0) },
			read: func(fd uintptr, frames []syscall.Iovec) (int, syscall.Errno) {
				n, _, e := syscall.RawSyscall(abi.CallReadFrames, fd, uintptr(unsafe.Pointer(unsafe.SliceData(frames))), uintptr(len(frames)))
				return int(n), e
			},
			write: func(frames []syscall.Iovec) (int, syscall.Errno) {
				n, _, e := syscall.RawSyscall(abi.CallWriteFrames, h, uintptr(unsafe.Pointer(unsafe.SliceData(frames))), uintptr(len(frames)))
				return int(n), e
			},
		}
	}
}

// exists says whether the kernel has a file.
func exists(path string) bool {
	var st syscall.Stat_t
	return syscall.Stat(path, &st) == nil
}

// pipeOf returns a descriptor that text is read from, or an error number.
func pipeOf(text string) int64 {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		return -int64(err.(syscall.Errno))
	}
	syscall.Write(fds[1], []byte(text))
	syscall.Close(fds[1])
	return int64(fds[0])
}
