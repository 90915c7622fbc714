package spt

import (
	"math"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// openUser plans the start of a user network: a socket pair, a pipe that says
// when the network is there, and the program that is the network, executed by a
// child that gives the network to a process of init's and ends. It says itself
// what went wrong. The guest is left with no child, and with its end of the
// socket.
func (d *descriptors) openUser(dev *device.Device) error {
	path, args, err := device.UserNetwork.Command(dev.User)
	if err != nil {
		return err
	}
	name := what(*dev)
	guest, theirs := d.take(), d.take()
	d.Must(raw.Concat(name, ": could not make a socket pair"), 0, unix.SYS_SOCKETPAIR,
		unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0, make([]byte, 8))
	for _, n := range []int{guest, theirs} {
		d.Try(unix.SYS_SETSOCKOPT, n, unix.SOL_SOCKET, unix.SO_SNDBUF, plan.Words(device.UserBuffer)[:4], 4)
	}
	ready, readyIn := d.take(), d.take()
	d.Must(raw.Concat(name, ": could not make a pipe"), 0, unix.SYS_PIPE2, make([]byte, 8), unix.O_CLOEXEC)
	child := d.take()
	const likeFork = unix.CLONE_PIDFD | uint64(unix.SIGCHLD)
	d.Succeed(raw.Concat(name, ": could not start a process"), unix.SYS_CLONE, likeFork, 0, make([]byte, 8), 0, 0)
	d.When(plan.Exact, 0, func() {
		// In the child. The two descriptors take numbers that neither of them has.
		high := max(guest, theirs, ready, readyIn, device.UserReady) + 1
		d.Try(unix.SYS_DUP3, theirs, high, unix.O_CLOEXEC)
		d.Try(unix.SYS_DUP3, readyIn, high+1, unix.O_CLOEXEC)
		d.Try(unix.SYS_DUP3, high, device.UserFrames, 0)
		d.Try(unix.SYS_DUP3, high+1, device.UserReady, 0)
		d.closeRange(device.UserReady+1, math.MaxInt32)
		d.ExecPath(raw.Concat(name, ": could not start ", path), path, d.Strings(args))
	}, plan.Last)
	for _, n := range []int{theirs, readyIn} {
		d.Try(unix.SYS_CLOSE, n)
		d.free(n)
	}
	d.Unless(plan.Exact, 1, func() { d.Try(unix.SYS_EXIT_GROUP, int(d.Status)) }, unix.SYS_READ, ready, make([]byte, 8), 1)
	d.Try(unix.SYS_WAITID, unix.P_PIDFD, child, 0, unix.WEXITED, 0)
	for _, n := range []int{ready, child} {
		d.Try(unix.SYS_CLOSE, n)
		d.free(n)
	}
	dev.FD, dev.Kind = guest, device.SeqPacket
	return nil
}
