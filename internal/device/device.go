// Package device attaches host resources to the devices that a guest's
// manifest declares: taps and inherited descriptors to network devices, files
// and block devices to block devices.
//
// Options collects the user's settings, Attach opens and checks everything in
// one step, and Device.Private gives a tender that reads for its guest a way to
// do so without blocking and without changing what it shares with its caller.
package device

import "gocat/internal/image"

// Kind says what a host descriptor is, as far as a tender must care.
type Kind uint8

// Kinds of host descriptors.
const (
	File      Kind = iota + 1 // regular file or raw disk read in sequence: always ready
	Null                      // other descriptor that epoll refuses (/dev/null, /dev/zero): always ready
	Pipe                      // pipe or FIFO
	TTY                       // terminal, either side of a pseudoterminal
	Stream                    // stream socket
	Packet                    // datagram or raw socket: no end
	Tap                       // Ethernet tap
	Other                     // anything else that can be polled (eventfd, timerfd, /dev/random, ...)
	Disk                      // regular file or block device, for a block device
	SeqPacket                 // sequenced-packet socket: keeps packets apart, and ends
)

// String names the kind in one or two words.
func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Null:
		return "unpollable device"
	case Pipe:
		return "pipe"
	case TTY:
		return "terminal"
	case Stream:
		return "stream socket"
	case Packet:
		return "datagram socket"
	case Tap:
		return "tap"
	case Other:
		return "pollable descriptor"
	case Disk:
		return "disk"
	case SeqPacket:
		return "seqpacket socket"
	}
	return "unopened"
}

// AlwaysReady reports whether a descriptor of this kind never has to be waited
// for. epoll_ctl(2) refuses such a descriptor with EPERM, so a tender must
// count it as readable by other means.
func AlwaysReady(k Kind) bool {
	return k == File || k == Null || k == Disk
}

// DefaultMTU is the MTU in bytes of a network device whose host side has none
// of its own: that of Ethernet.
const DefaultMTU = 1500

// Device is a manifest device with its host resource.
type Device struct {
	Handle    int              // index into the manifest
	Name      string           // as declared
	Type      image.DeviceType // Net or Block
	Kind      Kind             // 0 after Prepare for a Net device
	FD        int              // host descriptor, owned by the Set unless Inherited; -1 when not open
	Inherited bool             // came as @FD: never closed and never left changed
	Writable  bool             // open for writing too; every device is open for reading
	Path      string           // Net: interface name of a tap, "" when Inherited or User; Block: path
	User      *UserDevice      // Net: set for a user network

	MAC       [6]byte // Net
	MTU       uint16  // Net, bytes without the Ethernet header
	Capacity  uint64  // Block, bytes; a multiple of BlockSize, at least one block
	BlockSize uint16  // Block, bytes; a power of two >= 512

	// Modified is when the file of a Block device was last written to when a guest that is
	// started from there was stopped, in s and ns since 1970; 0 if that is not known.
	Modified [2]uint64
}
