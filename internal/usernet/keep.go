package usernet

import (
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
)

// A network that is kept has no guest at first and serves one after the other. Who
// started it has no frames, but a seqpacket socket: with each message it sends, of one
// byte, the network's end of a guest's frames goes along, for the guest that comes next.
// The network's messages have one byte too.
const (
	Wanted = 'w' // somebody connects to a published port: start the guest
	Idle   = 'i' // the guest is idle: end it. Nothing more is taken for it
)

// Keep starts a network for a device's guests, and returns the socket, not blocking and
// close-on-exec. The network ends when it is closed, and the guest with whose frames it
// is has gone.
func Keep(d *device.UserDevice) (fd int, err error) { return begin(d, true) }

// Frames makes the frames of a kept network's next guest, and returns the guest's end,
// close-on-exec.
func Frames(network int) (guest int, err error) {
	pair, err := frames()
	if err != nil {
		return -1, err
	}
	defer unix.Close(pair[1])
	if err := unix.Sendmsg(network, []byte{0}, unix.UnixRights(pair[1]), nil, unix.MSG_NOSIGNAL); err != nil {
		unix.Close(pair[0])
		return -1, os.NewSyscallError("sendmsg", err)
	}
	return pair[0], nil
}

// frames makes the socket pair between a guest, whose end is the first, and its network.
func frames() (pair [2]int, err error) {
	pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return pair, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range pair {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, device.UserBuffer)
	}
	return pair, nil
}
