package trace

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/ptrace"
	"gocat/seccomp"
)

// maxEvents is how many results of a wait are looked at: more than a guest has
// devices.
const maxEvents = 64

// describe names a system call and its arguments.
func (s *sptSource) describe(e *Event, i *ptrace.SyscallInfo) {
	nr, args := i.Words[0], i.Words[1:7]
	if i.Arch == unix.AUDIT_ARCH_X86_64 && nr <= math.MaxUint32 {
		e.Call = seccomp.SyscallName(uint32(nr))
	}
	if e.Call == "" {
		e.Call = "call " + strconv.FormatUint(nr, 10)
		if i.Arch == unix.AUDIT_ARCH_I386 {
			e.Call = "32-bit " + e.Call
		}
		if !s.running {
			return
		}
	}
	if !s.running {
		e.Args = words(args)
		return
	}
	switch e.Call {
	case "read", "write":
		e.Args = []Value{s.descriptor(e, args[0]), size(args[2])}
	case "pread64", "pwrite64":
		e.Args = []Value{s.descriptor(e, args[0]), size(args[2]), at(args[3])}
	case "epoll_pwait":
		ms := int32(args[3])
		e.Args = []Value{timeout(time.Duration(ms) * time.Millisecond)}
	case "timerfd_settime":
		e.Args = s.timer(args)
	case "clock_gettime":
		e.Args = []Value{clock(args[0])}
	case "exit_group":
		e.Args = []Value{exitStatus(int32(args[0]))}
	case "arch_prctl":
		if args[0] != abi.ArchSetFS {
			e.Args = words(args)
			return
		}
		base := hex("fs_base", args[1])
		base.Text = "FS base " + base.Text
		e.Args = []Value{base}
	default:
		e.Args = words(args)
	}
}

// words are arguments of a call that is not known, without zeros at the end.
func words(args []uint64) (values []Value) {
	for n := len(args); n > 0; n-- {
		if args[n-1] == 0 {
			continue
		}
		for i, a := range args[:n] {
			values = append(values, hex("arg"+strconv.Itoa(i), a))
		}
		break
	}
	return values
}

// descriptor names what a descriptor of the guest is. Names of devices have no
// spaces, so none passes for something else.
func (s *sptSource) descriptor(e *Event, fd uint64) Value {
	for _, d := range s.Devices {
		if uint64(d.FD) == fd {
			e.Device = d.Name
			return text("device", d.Name)
		}
	}
	v := number("fd", fd)
	switch fd {
	case 1:
		v.Text = "standard output"
	case 2:
		v.Text = "standard error"
	default:
		v.Text = "descriptor " + v.Text
	}
	return v
}

// timer describes the arguments of timerfd_settime: when it expires.
func (s *sptSource) timer(args []uint64) []Value {
	b := ptrace.Read(s.pid, args[2], 32) // struct itimerspec
	if b == nil || args[0] != uint64(s.Timer) {
		return words(args)
	}
	d := span(b[16:])
	if d != 0 && args[1]&unix.TFD_TIMER_ABSTIME != 0 {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			return words(args)
		}
		d -= time.Duration(now.Nano())
	}
	words := "off"
	switch {
	case d < 0:
		words = d.Abs().String() + " ago"
	case d > 0:
		words = "in " + d.String()
	}
	return []Value{{"in", d.Seconds(), words}}
}

// span is a struct timespec.
func span(b []byte) time.Duration {
	seconds, ns := int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))
	const most = math.MaxInt64 / int64(time.Second)
	return time.Duration(max(min(seconds, most-1), 0))*time.Second + time.Duration(max(min(ns, int64(time.Second)), 0))
}

func clock(id uint64) Value {
	switch id {
	case unix.CLOCK_REALTIME:
		return text("clock", "realtime")
	case unix.CLOCK_MONOTONIC:
		return text("clock", "monotonic")
	}
	return Value{"clock", id, "clock " + strconv.FormatUint(id, 10)}
}

// gave adds what a call that succeeded gave.
func (s *sptSource) gave(e *Event, result uint64) {
	args := s.call.Words[1:7]
	switch {
	case e.Setup:
		if result != 0 {
			e.Out = []Value{hex("value", result)}
		}
		return
	case e.Call == "read", e.Call == "write", e.Call == "pread64", e.Call == "pwrite64":
		e.Bytes = int64(result)
	case e.Call == "epoll_pwait":
		e.Out = []Value{ready(s.waited(args[1], result))}
	case e.Call == "clock_gettime":
		b := ptrace.Read(s.pid, args[1], 16)
		if b == nil {
			return
		}
		if d := span(b); args[0] == unix.CLOCK_REALTIME {
			e.Out = []Value{text("time", time.Unix(0, int64(d)).UTC().Format(time.RFC3339Nano))}
		} else {
			e.Out = []Value{{"time", d.Seconds(), d.String()}}
		}
	case result != 0:
		e.Out = []Value{hex("value", result)}
	}
}

// waited names what a wait found: n struct epoll_event at addr, of 12 bytes,
// whose data is a handle.
func (s *sptSource) waited(addr, n uint64) (names []string) {
	n = min(n, maxEvents)
	if n == 0 {
		return nil
	}
	b := ptrace.Read(s.pid, addr, int(n)*12)
	for ; len(b) >= 12; b = b[12:] {
		names = append(names, s.handle(binary.LittleEndian.Uint64(b[4:])))
	}
	return names
}

func (s *sptSource) handle(data uint64) string {
	if data == s.TimerData {
		return "timer"
	}
	for _, d := range s.Devices {
		if uint64(d.Handle) == data {
			return d.Name
		}
	}
	return "handle " + strconv.FormatUint(data, 10)
}
