package device

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Via says how a Port keeps from blocking, and so which system calls it makes.
type Via uint8

// Ways to read and write.
const (
	Plain  Via = iota // read and write: the description is private and O_NONBLOCK, or never blocks
	Socket            // recvfrom and sendto with MSG_DONTWAIT
	Polled            // poll, then read or write
)

// Port is a descriptor that a tender reads and writes for its guest. No call on
// it changes the flags of a description that the tender shares with its caller,
// so there is nothing to restore, however the tender ends.
//
// Wait for input on the Device's FD, not on the Port's: the private description
// of a FIFO that had lost its last writer before it was opened never polls as
// hung up (fs/pipe.c, fifo_open), and a wait for its end would last for ever.
// Where AlwaysReady, do not wait at all.
type Port struct {
	FD    int // to read and write; equal to the Device's FD unless Close closes it
	Via   Via
	owned bool // FD is Close's to close
	reads bool // nothing can ever be written
}

// Private returns a Port for the device. Close the Port before the Set.
//
// Taps that Attach opened are private and non-blocking already; files, disks
// and the likes of /dev/null never block. Pipes, FIFOs and terminals are opened
// again through /proc/self/fd, with the same access mode and O_NONBLOCK.
// Sockets take a flag with each call. What is left is polled before each call:
// the master of a pseudoterminal (opening it again would make another one), an
// inherited tap, eventfds and other devices, and pipes and terminals where
// /proc is missing or they belong to another user.
func (d *Device) Private() (Port, error) {
	if d.FD < 0 || d.Kind == 0 {
		return Port{}, errors.New(Declared{d.Name, d.Type}.String() + ": not open")
	}
	p := Port{FD: d.FD, reads: !d.Writable || raw.WriteNothing(d.FD) != nil}
	switch {
	case AlwaysReady(d.Kind), !d.Inherited:
	case d.Kind == Stream || d.Kind == Packet || d.Kind == SeqPacket:
		p.Via = Socket
	case d.Kind == Pipe || d.Kind == TTY:
		fd, err := reopen(d.FD)
		if err != nil {
			p.Via = Polled
			break
		}
		p.FD, p.owned = fd, true
	default:
		p.Via = Polled
	}
	return p, nil
}

// Close closes the descriptor if Private opened it.
func (p *Port) Close() {
	if p.owned {
		raw.Close(p.FD)
	}
	*p = Port{FD: -1}
}

// Read reads once into b. The error is EAGAIN when there is nothing to read; 0
// and no error is the end, or an empty packet (EndsStream tells). It waits only
// for a disk or, when Polled, if another reader took what poll had seen.
func (p *Port) Read(b []byte) (int, unix.Errno) {
	if p.Via == Socket {
		return p.call(unix.SYS_RECVFROM, b, unix.MSG_DONTWAIT)
	}
	if p.Via == Polled {
		if errno := p.ready(unix.POLLIN); errno != 0 {
			return 0, errno
		}
	}
	return p.call(unix.SYS_READ, b, 0)
}

// Write writes b once and returns how much of it was taken, which may be less
// than all. The error is EAGAIN if nothing can be written now, EBADF if writing is
// impossible. When Polled, a write of more than fits waits for the rest.
func (p *Port) Write(b []byte) (int, unix.Errno) {
	if p.reads {
		return 0, unix.EBADF
	}
	if p.Via == Socket {
		return p.call(unix.SYS_SENDTO, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	if p.Via == Polled {
		if errno := p.ready(unix.POLLOUT); errno != 0 {
			return 0, errno
		}
	}
	return p.call(unix.SYS_WRITE, b, 0)
}

// call makes the system call on b, again when a signal interrupts it.
func (p *Port) call(nr uintptr, b []byte, flags uintptr) (int, unix.Errno) {
	for {
		n, errno := raw.Syscall6(nr, uintptr(p.FD), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), flags, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return 0, errno
		}
		return int(n), 0
	}
}

// ready returns 0 when the event has come, or an end or error that the call
// itself will report. A signal that is due interrupts ppoll(2) even where it does
// not wait; poll(2) would then be resumed by another call.
func (p *Port) ready(event int16) unix.Errno {
	for {
		fd := unix.PollFd{Fd: int32(p.FD), Events: event}
		var now unix.Timespec
		n, errno := raw.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fd)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		if errno == 0 && n == 0 {
			return unix.EAGAIN
		}
		return errno
	}
}

// reopen opens fd's pipe or terminal again, non-blocking.
func reopen(fd int) (int, error) {
	var old, got unix.Stat_t
	if err := raw.Fstat(fd, &old); err != nil {
		return -1, err
	}
	if old.Mode&unix.S_IFMT == unix.S_IFCHR && old.Rdev == unix.Mkdev(5, 2) {
		return -1, unix.EINVAL // /dev/ptmx
	}
	flags, err := raw.Fcntl(fd, unix.F_GETFL, 0)
	if err != nil {
		return -1, err
	}
	mode := flags&unix.O_ACCMODE | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	reopened, err := raw.Open(raw.Concat("/proc/self/fd/", raw.Decimal(uint64(fd))), mode)
	if err != nil {
		return -1, err
	}
	if reopened, err = aboveStdio(reopened); err != nil {
		return -1, err
	}
	err = raw.Fstat(reopened, &got)
	if err == nil && (got.Dev != old.Dev || got.Ino != old.Ino || got.Rdev != old.Rdev) {
		err = unix.ESTALE
	}
	// A pipe in packet mode is made so by fcntl; open refuses the flag.
	if err == nil && flags&unix.O_DIRECT != 0 {
		_, err = raw.Fcntl(reopened, unix.F_SETFL, unix.O_NONBLOCK|unix.O_DIRECT)
	}
	if err != nil {
		raw.Close(reopened)
		return -1, err
	}
	return reopened, nil
}
