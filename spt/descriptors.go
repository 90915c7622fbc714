package spt

import (
	"encoding/binary"
	"math"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// pipeSize is the capacity in bytes that pipes are widened to for bulk
// transfer: the most that an unprivileged process may ask for by default
// (fs.pipe-max-size).
const pipeSize = 1 << 20

// descriptors plans the descriptor table of the guest. It knows which numbers
// are open at each point of the plan, so the number of each new one is known
// before it is made.
type descriptors struct {
	*plan.Plan
	open         []int // ascending
	devices      []device.Device
	epoll, timer int
	unread       string // a line for input that no device reads, or ""
	passed       []int  // where descriptors from device.FirstPassed on wait for a user network; -1 for a device's
}

// take returns the number that the kernel gives to the next new descriptor.
func (d *descriptors) take() int {
	n := 0
	for slices.Contains(d.open, n) {
		n++
	}
	d.hold(n)
	return n
}

func (d *descriptors) hold(n int) {
	if i, found := slices.BinarySearch(d.open, n); !found {
		d.open = slices.Insert(raw.Append(d.open, 0)[:len(d.open)], i, n)
	}
}

func (d *descriptors) free(n int) {
	if i, found := slices.BinarySearch(d.open, n); found {
		d.open = slices.Delete(d.open, i, i+1)
	}
}

// inherit plans the descriptors that the process starts with: the standard ones
// and those of devices. Everything else is closed.
func (d *descriptors) inherit() {
	for _, dev := range d.devices {
		if dev.FD >= 0 {
			d.Succeed(raw.Concat(what(dev), ": descriptor ", raw.Decimal(uint64(dev.FD)), " is not open"), unix.SYS_FCNTL, dev.FD, unix.F_GETFD)
			d.hold(dev.FD)
		}
	}
	d.Succeed("standard output is not open", unix.SYS_FCNTL, 1, unix.F_GETFD)
	d.hold(1)
	// A descriptor takes the place of a closed stdin or stderr, so that nothing
	// of the guest's gets its number.
	for _, n := range []int{0, 2} {
		d.When(plan.Exact, plan.Errno(unix.EBADF), func() {
			d.Must("could not reserve a descriptor", uint64(n), unix.SYS_EVENTFD2, 0, unix.EFD_NONBLOCK)
		}, unix.SYS_FCNTL, n, unix.F_GETFD)
		d.hold(n)
	}
	d.keepPassed()
	// One that is closed with the rest shows that they are.
	probe := d.take()
	d.free(probe)
	d.Try(unix.SYS_DUP3, 1, probe, 0)
	first := 0
	for i := 0; i <= len(d.open); i++ {
		n := math.MaxInt32 + 1
		if i < len(d.open) {
			n = d.open[i]
		}
		if first < n {
			d.closeRange(first, n-1)
		}
		first = n + 1
	}
	d.Must(raw.Concat("could not close inherited descriptors: ", isolate.Answered), plan.Errno(unix.EBADF), unix.SYS_FCNTL, probe, unix.F_GETFD)
}

// closeRange plans that descriptors are closed: one by one where there is no
// close_range, which is of Linux 5.9 and which the filters of some containers refuse.
func (d *descriptors) closeRange(first, last int) {
	const failed = "could not close inherited descriptors"
	d.Unless(plan.Exact, 0, func() {
		limit := d.Store(make([]byte, 16)) // struct rlimit64
		d.Must(failed, 0, unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 0, limit)
		d.Must(failed+": "+raw.NoCloseRange, 0,
			plan.Differ, limit+8, plan.Words(0), ^uint64(raw.MaxClose))
		if first <= raw.MaxClose {
			d.Try(plan.Close, first, min(last, raw.MaxClose))
		}
	}, unix.SYS_CLOSE_RANGE, first, last, 0)
}

// attach plans the devices: what has a path is opened, what was inherited is
// made ready for a guest that expects it not to block, all without a change to
// the open file descriptions that the caller shares, as far as the kernel allows.
func (d *descriptors) attach() error {
	for i := range d.devices {
		dev := &d.devices[i]
		switch {
		case dev.FD >= 0:
		case dev.User != nil:
			if err := d.openUser(dev); err != nil {
				return err
			}
		default:
			dev.FD = d.take()
			d.openPath(dev)
		}
	}
	d.console()
	d.epoll = d.take()
	d.Must("could not make an epoll descriptor", uint64(d.epoll), unix.SYS_EPOLL_CREATE1, 0)
	d.timer = d.take()
	d.Must("could not make a timer", uint64(d.timer), unix.SYS_TIMERFD_CREATE, unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK)
	d.Must("could not wait for the timer", 0, unix.SYS_EPOLL_CTL, d.epoll, unix.EPOLL_CTL_ADD, d.timer, event(timerData))
	ready := d.take()
	d.Must("could not make an event descriptor", uint64(ready), unix.SYS_EVENTFD2, 1, 0)
	for _, dev := range d.devices {
		if dev.Type != image.Net {
			continue
		}
		if !dev.Inherited {
			d.Must(raw.Concat(what(dev), ": could not wait for it"), 0,
				unix.SYS_EPOLL_CTL, d.epoll, unix.EPOLL_CTL_ADD, dev.FD, event(uint64(dev.Handle)))
			continue
		}
		d.poll(dev, ready)
		d.nonblocking(&dev)
	}
	d.Try(unix.SYS_CLOSE, ready)
	d.free(ready)
	if !slices.ContainsFunc(d.devices, func(dev device.Device) bool { return dev.FD == 0 }) {
		d.warn()
		d.Try(unix.SYS_CLOSE, 0)
	}
	return nil
}

// say plans a line on standard error. If nobody reads that, the start goes on.
func (d *descriptors) say(line string) {
	old := d.Store(make([]byte, 32))                                                // struct kernel_sigaction
	d.Try(unix.SYS_RT_SIGACTION, int(unix.SIGPIPE), plan.Words(1, 0, 0, 0), old, 8) // SIG_IGN
	d.Try(unix.SYS_WRITE, 2, raw.Bytes(line), len(line))
	d.Try(unix.SYS_RT_SIGACTION, int(unix.SIGPIPE), old, 0, 8)
}

// warn plans a warning if there is input that the guest cannot read: bytes in a pipe
// or socket, or the rest of a file, but not what is typed at a terminal.
func (d *descriptors) warn() {
	if d.unread == "" {
		return
	}
	n := d.Store(make([]byte, 8)) // an int, and 0
	d.When(plan.Exact, 0, func() {
		d.When(plan.Exact, 1, func() {
			d.When(plan.Exact, 0, func() {
				d.When(plan.Failed, plan.Failed, func() { d.say(d.unread) }, unix.SYS_IOCTL, 0, unix.TCGETS, make([]byte, 64))
			}, plan.Differ, n, plan.Words(0), 1<<31) // it is not negative, as behind a file's end,
		}, plan.Differ, n, plan.Words(0), 1<<31-1) // and not 0
	}, unix.SYS_IOCTL, 0, unix.TIOCINQ, n)
}

// poll plans that waiting tells the guest when an inherited descriptor is ready.
// It waits on the description that was inherited, through a copy of the
// descriptor: one that nonblocking opens again need not report the same hang-up.
// Files, which epoll refuses, are represented by ready, which is always ready.
func (d *descriptors) poll(dev device.Device, ready int) {
	watch := d.take()
	ev := event(uint64(dev.Handle))
	d.Must(raw.Concat(what(dev), ": could not copy its descriptor"), uint64(watch), unix.SYS_DUP3, dev.FD, watch, 0)
	d.When(plan.Exact, plan.Errno(unix.EPERM), func() {
		d.Must(raw.Concat(what(dev), ": could not copy a descriptor"), uint64(watch), unix.SYS_DUP3, ready, watch, 0)
		d.Try(unix.SYS_EPOLL_CTL, d.epoll, unix.EPOLL_CTL_ADD, watch, ev)
	}, unix.SYS_EPOLL_CTL, d.epoll, unix.EPOLL_CTL_ADD, watch, ev)
	d.Must(raw.Concat(what(dev), ": could not wait for it"), 0, unix.SYS_EPOLL_CTL, d.epoll, unix.EPOLL_CTL_MOD, watch, ev)
}

// nonblocking plans that an inherited descriptor does not block. What epoll
// refuses never does. Pipes and terminals are opened again, so that the flag is
// not on the caller's description; where that is impossible (no /proc) they stay
// as they are, and reading blocks. The rest, mainly sockets, cannot be opened
// again and get the flag.
func (d *descriptors) nonblocking(dev *device.Device) {
	n := dev.FD
	// To take out what is not in asks whether it could be.
	d.Unless(plan.Exact, plan.Errno(unix.EPERM), func() {
		d.isPipe(n, func() {
			d.widen(n)
			d.reopen(n, unix.O_NONBLOCK)
		})
		d.isTerminal(n, func() { d.reopen(n, unix.O_NONBLOCK) })
		d.When(plan.Exact, plan.Errno(unix.EBADF), func() { // not a pipe
			d.When(plan.Failed, plan.Failed, func() { // not a terminal
				d.Try(unix.SYS_IOCTL, n, fionbio, []byte{1, 0, 0, 0})
				d.tap(dev)
			}, unix.SYS_IOCTL, n, unix.TCGETS, make([]byte, 64))
		}, unix.SYS_FCNTL, n, unix.F_GETPIPE_SZ)
	}, unix.SYS_EPOLL_CTL, d.epoll, unix.EPOLL_CTL_DEL, n, 0)
}

// console plans standard output, the guest's console. The Solo5 bindings ignore
// the result of a write, so a pipe or terminal that was left non-blocking by
// someone else would lose output: it is opened again without the flag.
func (d *descriptors) console() {
	d.isPipe(1, func() { d.widen(1) })
	d.When(unix.O_NONBLOCK, unix.O_NONBLOCK, func() {
		d.isPipe(1, func() { d.reopen(1, 0) })
		d.isTerminal(1, func() { d.reopen(1, 0) })
	}, unix.SYS_FCNTL, 1, unix.F_GETFL)
}

func (d *descriptors) isPipe(n int, then func()) {
	d.When(plan.Failed, 0, then, unix.SYS_FCNTL, n, unix.F_GETPIPE_SZ)
}

// isTerminal reports whether fd is a terminal that can be opened again: not the
// master side of a pseudo-terminal, where that would make a new pair.
func (d *descriptors) isTerminal(n int, then func()) {
	d.When(plan.Exact, 0, func() {
		d.When(plan.Failed, plan.Failed, then, unix.SYS_IOCTL, n, unix.TIOCGPTN, make([]byte, 4))
	}, unix.SYS_IOCTL, n, unix.TCGETS, make([]byte, 64))
}

// widen plans a capacity of at least pipeSize bytes, where the caller may.
func (d *descriptors) widen(n int) {
	const larger = uint64(math.MaxUint32) &^ (pipeSize - 1)
	d.When(larger, 0, func() {
		d.Try(unix.SYS_FCNTL, n, unix.F_SETPIPE_SZ, pipeSize)
	}, unix.SYS_FCNTL, n, unix.F_GETPIPE_SZ)
}

// reopen plans a new description, with the same access mode and the given
// flags, for descriptor n.
func (d *descriptors) reopen(n int, flags int) {
	path := raw.CString(raw.Concat("/proc/self/fd/", raw.Decimal(uint64(n))))
	scratch := d.take()
	for _, mode := range []int{unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR} {
		d.When(unix.O_ACCMODE, uint64(mode), func() {
			d.When(plan.Exact, uint64(scratch), func() {
				d.Try(unix.SYS_DUP3, scratch, n, 0)
				d.Try(unix.SYS_CLOSE, scratch)
			}, unix.SYS_OPENAT, unix.AT_FDCWD, path, mode|flags|unix.O_NOCTTY, 0)
		}, unix.SYS_FCNTL, n, unix.F_GETFL)
	}
	d.free(scratch)
}

// openPath plans the opening of a device that the guest's executable names.
func (d *descriptors) openPath(dev *device.Device) {
	fd := uint64(dev.FD)
	if dev.Type == image.Block {
		d.Must(raw.Concat(what(*dev), ": could not open ", dev.Path), fd,
			unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString(dev.Path), unix.O_RDWR|unix.O_CLOEXEC, 0)
		d.Must(raw.Concat(what(*dev), ": ", dev.Path, " is no longer ", raw.Decimal(dev.Capacity), " bytes long"),
			dev.Capacity, unix.SYS_LSEEK, dev.FD, 0, unix.SEEK_END)
		d.compare(dev)
		return
	}
	d.Must(raw.Concat(what(*dev), ": could not open /dev/net/tun"), fd,
		unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString("/dev/net/tun"), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	request := make([]byte, 40) // struct ifreq
	copy(request[:unix.IFNAMSIZ-1], dev.Path)
	socket := d.take()
	d.Must("could not make a socket", uint64(socket), unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0)
	d.Must(raw.Concat(what(*dev), ": there is no interface ", dev.Path), 0, unix.SYS_IOCTL, socket, unix.SIOCGIFINDEX, slices.Clone(request))
	d.Try(unix.SYS_CLOSE, socket)
	d.free(socket)
	binary.LittleEndian.PutUint16(request[unix.IFNAMSIZ:], unix.IFF_TAP|unix.IFF_NO_PI)
	d.Must(raw.Concat(what(*dev), ": could not attach interface ", dev.Path), 0, unix.SYS_IOCTL, dev.FD, unix.TUNSETIFF, request)
	d.settle(dev)
}

// compare plans a warning if a disk was changed since the guest was stopped.
func (d *descriptors) compare(dev *device.Device) {
	if dev.Modified == [2]uint64{} {
		return
	}
	const seconds, nanoseconds = 88, 96 // of st_mtim in a struct stat
	st := d.Store(make([]byte, 144))
	d.When(plan.Exact, 0, func() {
		earlier := d.Call(plan.Exact, 0, plan.Differ, st+seconds, plan.Words(dev.Modified[0]), plan.Exact)
		same := d.Call(plan.Exact, 1, plan.Differ, st+nanoseconds, plan.Words(dev.Modified[1]), plan.Exact)
		d.Land(earlier, d.Here())
		d.say(dev.Changed())
		d.Land(same, d.Here())
	}, unix.SYS_FSTAT, dev.FD, st)
}

// fionbio is FIONBIO of asm-generic/ioctls.h: it sets O_NONBLOCK alone.
const fionbio = 0x5421

// event is a struct epoll_event (packed on x86-64) for input, with data.
func event(data uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(raw.Slice[byte](0, 12), unix.EPOLLIN, 0, 0, 0), data)
}

// what names a device in messages.
func what(d device.Device) string {
	if d.Type == image.Block {
		return raw.Concat("block device '", d.Name, "'")
	}
	return raw.Concat("network device '", d.Name, "'")
}
