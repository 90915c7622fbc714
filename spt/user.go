package spt

import (
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// passedAt is where sockets that were passed to the guest's process wait, or the next
// number after all descriptors of devices: more than a plan has open before.
const passedAt = 128

// keepPassed plans that sockets which a service manager may have passed for published
// ports are not closed: how many there are only the network's process finds out. They
// go where no other descriptor is, so that the numbers of those stay known.
func (d *descriptors) keepPassed() {
	count, at := 0, passedAt
	for i := range d.devices {
		dev := &d.devices[i]
		if at = max(at, dev.FD+1); dev.FD < 0 && dev.User != nil {
			count = max(count, dev.User.MayBePassed())
		}
	}
	at = max(at, device.UserPassed+count)
	for i := range count {
		n := device.FirstPassed + i
		if slices.ContainsFunc(d.devices, func(dev device.Device) bool { return dev.FD == n }) {
			d.passed = raw.Append(d.passed, -1)
			continue
		}
		d.Try(unix.SYS_DUP3, n, at+i, unix.O_CLOEXEC)
		d.passed = raw.Append(d.passed, at+i)
		d.hold(at + i)
	}
}

// dropPassed plans that the guest does not keep them.
func (d *descriptors) dropPassed() {
	for _, n := range d.passed {
		if n >= 0 {
			d.Try(unix.SYS_CLOSE, n)
			d.free(n)
		}
	}
	d.passed = nil
}

// openUser plans the start of a user network: a socket pair, a pipe that says
// when the network is there, and the program that is the network, executed by a
// child that gives the network to a process of init's and ends. It says itself
// what went wrong. The guest is left with no child, and with its end of the
// socket. Where gocat serve starts the guest, all that is there is one descriptor.
func (d *descriptors) openUser(dev *device.Device) error {
	path, args, err := device.UserNetwork.Command(dev.User)
	if err != nil {
		return err
	}
	name := what(*dev)
	guest := d.take()
	theirs := d.take()
	given := -1
	if len(d.passed) > 0 && d.passed[0] >= 0 {
		over := d.Call(plan.Exact, 1, plan.Given, device.HandedWord)
		d.Must(raw.Concat(name, ": the network that was handed to it is not there"), uint64(guest), unix.SYS_DUP3, d.passed[0], guest, unix.O_CLOEXEC)
		given = d.Jump()
		d.Land(over, d.Here())
	}
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
		for i, n := range d.passed {
			d.Try(unix.SYS_CLOSE, device.UserPassed+i)
			if n >= 0 {
				d.Try(unix.SYS_DUP3, n, device.UserPassed+i, 0)
			}
		}
		d.closeRange(device.UserPassed+len(d.passed), math.MaxInt32)
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
	if given >= 0 {
		d.Land(given, d.Here())
	}
	d.dropPassed()
	dev.FD, dev.Kind = guest, device.SeqPacket
	return nil
}
