// Package device attaches host resources to the devices that a guest's
// manifest declares: taps and inherited descriptors to network devices, files
// and block devices to block devices.
package device

import "gocat/internal/image"

// Kind says what a host descriptor is, as far as a tender must care.
type Kind uint8

// Kinds of host descriptors.
const (
	File   Kind = iota + 1 // regular file: always ready, epoll refuses it
	Null                   // other character device that epoll refuses (/dev/null, /dev/zero): always ready
	Pipe                   // pipe or FIFO
	TTY                    // terminal
	Stream                 // stream socket
	Packet                 // datagram, seqpacket or raw socket
	Tap                    // Ethernet tap
	Other                  // anything else that can be polled (eventfd, timerfd, ...)
	Disk                   // regular file or block device behind a block device
)

// EOF is what a guest sees when a network device's descriptor is at its end.
type EOF uint8

// EOF policies (--eof).
const (
	EOFAuto  EOF = iota // zero for pipes, files, ttys and stream sockets; again for the rest
	EOFZero             // OK with 0 bytes
	EOFAgain            // AGAIN for ever, as upstream's hvt tender; hvt only
)

// Device is a manifest device with its host resource.
type Device struct {
	Handle    int              // index into the manifest
	Name      string           // as declared
	Type      image.DeviceType // Net or Block
	Kind      Kind
	FD        int    // host descriptor, owned by the Set unless Inherited
	Inherited bool   // came as @FD: never closed and never left changed
	Path      string // Net: interface name of a tap; Block: path; "" when Inherited

	MAC       [6]byte // Net
	MTU       uint16  // Net, bytes
	Capacity  uint64  // Block, bytes; a multiple of BlockSize
	BlockSize uint16  // Block, bytes
}
