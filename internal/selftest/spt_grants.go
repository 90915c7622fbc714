package selftest

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
)

// grant is a call that a guest may make, and what it may not make of it.
type grant struct {
	name    string
	nr      uint64
	args    [6]guests.Value
	strict  bool // also under the strict profile
	altered []altered
}

// altered is an argument that is off the grant: v, or v more than the granted
// one.
type altered struct {
	arg  int
	v    guests.Value
	more bool
}

// fdOff are descriptors that are off a grant, besides those that the guest
// knows as others of its own: numbers that nothing of the guest's can have, and
// its own with more bits than the kernel looks at.
func fdOff(others ...guests.Value) (all []altered) {
	for _, n := range []uint64{0, 2, 8, 63, 1000, 1 << 31, ^uint64(0), ^uint64(99), 1<<32 - 1} {
		others = append(others, guests.N(n))
	}
	for _, n := range others {
		all = append(all, altered{0, n, false})
	}
	for _, n := range []uint64{1 << 31, 1 << 32, 1 << 33, 1 << 63, 0xffffffff << 32} {
		all = append(all, altered{0, guests.N(n), true})
	}
	return all
}

// off are other values for an argument that has to be a constant.
func off(arg int, granted uint64) (all []altered) {
	for _, n := range []uint64{granted - 1, granted + 1, granted ^ 1, granted | 1<<31, granted | 1<<32, granted | 1<<63, granted << 32, ^granted, ^uint64(0), 0, guests.Scratch} {
		if n != granted {
			all = append(all, altered{arg, guests.N(n), false})
		}
	}
	return all
}

// past are offsets past the last that is granted.
func past(arg int, last uint64) (all []altered) {
	for _, n := range []uint64{last + 1, last + 512, last + 4096, 1 << 31, 1 << 32, 1<<32 | last, 1 << 62, 1 << 63, 1<<63 | last, ^uint64(0), ^uint64(511), ^uint64(4095)} {
		all = append(all, altered{arg, guests.N(n), false})
	}
	return all
}

// grants returns what a guest with our devices is granted, the same list for each
// probe: the values are the probe's own.
func grants(p *guests.Probe) []grant {
	n := guests.N
	buf, netA, netB := n(guests.Scratch), n(fdNetA), n(fdNetB)
	small, large := p.DeviceFD(smallHandle), p.DeviceFD(largeHandle)
	epoll, timer := guests.EpollFD(), guests.TimerFD()
	var all []grant
	add := func(name string, nr uint64, strict bool, args []guests.Value, lists ...[]altered) {
		g := grant{name: name, nr: nr, strict: strict, altered: slices.Concat(lists...)}
		copy(g.args[:], args)
		all = append(all, g)
	}
	var others []guests.Value // every low number except those of network devices and the console
	for fd := uint64(3); fd < 24; fd++ {
		if fd != fdNetA && fd != fdNetB {
			others = append(others, n(fd))
		}
	}
	for i, fd := range []guests.Value{netA, netB} {
		name := "ab"[i : i+1]
		add("read of network device "+name, unix.SYS_READ, true, []guests.Value{fd, buf, n(64)}, fdOff(append(others, n(1))...))
		add("write to network device "+name, unix.SYS_WRITE, true, []guests.Value{fd, buf, n(64)}, fdOff(others...))
	}
	add("write on the console", unix.SYS_WRITE, true, []guests.Value{n(1), buf, n(0)}, fdOff(others...))
	for _, call := range []struct {
		name string
		nr   uint64
	}{{"read", unix.SYS_PREAD64}, {"write", unix.SYS_PWRITE64}} {
		for _, d := range []struct {
			name        string
			fd, other   guests.Value
			block, size uint64
		}{{"small", small, large, smallBlock, smallSize}, {"large", large, small, largeBlock, largeSize}} {
			// The disk must stay unchanged: each write stores what was just
			// read.
			add(call.name+" of block device "+d.name, call.nr, true, []guests.Value{d.fd, buf, n(d.block), n(d.size - d.block)},
				fdOff(n(1), netA, netB, epoll, timer, d.other), off(2, d.block), past(3, d.size-d.block))
		}
	}
	add("waiting", unix.SYS_EPOLL_PWAIT, true, []guests.Value{epoll, buf, n(1), n(0), n(0), n(8)},
		fdOff(n(1), netA, netB, small, large, timer), off(4, 0))
	add("setting the timer", unix.SYS_TIMERFD_SETTIME, false, []guests.Value{timer, n(unix.TFD_TIMER_ABSTIME), n(guests.Scratch + 128), n(0)},
		fdOff(n(1), netA, netB, small, large, epoll), off(1, unix.TFD_TIMER_ABSTIME), off(3, 0))
	var clocks, codes []altered
	for _, c := range []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 1 << 31, 1 << 32, 1<<32 | 1, 1<<63 | 1, ^uint64(0), ^uint64(5)} {
		clocks = append(clocks, altered{0, n(c), false})
	}
	for _, c := range []uint64{0x1001, 0x1003, 0x1004, 0x1011, 0x1012, 0x1021, 0x1022, 0x1023, 0x1024, 0x1025, 0x2001, 0x2002, 0x2003,
		0x4001, 0x4002, 0x4003, 0x5001, 0x5002, 0x5003, 0x5004, 0x5005, 1<<32 | abi.ArchSetFS, 1<<63 | abi.ArchSetFS, abi.ArchSetFS << 32, 0, ^uint64(0)} {
		codes = append(codes, altered{0, n(c), false})
	}
	add("the monotonic clock", unix.SYS_CLOCK_GETTIME, false, []guests.Value{n(unix.CLOCK_MONOTONIC), buf}, clocks)
	add("the wall clock", unix.SYS_CLOCK_GETTIME, false, []guests.Value{n(unix.CLOCK_REALTIME), buf})
	add("thread-local storage", unix.SYS_ARCH_PRCTL, false, []guests.Value{n(abi.ArchSetFS), buf}, codes)
	return all
}

// mutations has every granted call as it is granted, which comes back, and with
// each argument off its grant.
func mutations(s Setting) (all []*Attack) {
	allGrants := grants(guests.NewProbe(s.Target(), manifest(s)...))
	for i := range allGrants {
		g := &allGrants[i]
		want := Outcome{Nothing, cameBack, ""}
		if s == Strict && !g.strict {
			want = forbidden(g.nr)
		}
		all = append(all, &Attack{
			Group: "calls as granted", Name: g.name, Setting: s, Want: []Outcome{want},
			add: func(p *guests.Probe) {
				g := grants(p)[i]
				if g.nr == unix.SYS_PWRITE64 {
					p.Do(p.Syscall(unix.SYS_PREAD64, g.args[:]...).Equals(g.args[2], 3))
				}
				p.Do(p.Syscall(g.nr, g.args[:]...))
			},
		})
		for j, m := range g.altered {
			how := "instead"
			if m.more {
				how = "more"
			}
			all = append(all, &Attack{
				Group: "granted calls, each argument off its grant", Setting: s,
				Name: fmt.Sprintf("%s: argument %d, alteration %d (%#x %s)", g.name, m.arg+1, j, m.v.N, how),
				Want: []Outcome{forbidden(g.nr)},
				add: func(p *guests.Probe) {
					g := grants(p)[i]
					m := g.altered[j]
					v := m.v
					if m.more {
						v = g.args[m.arg].Plus(v.N)
					}
					g.args[m.arg] = v
					p.Do(p.Syscall(g.nr, g.args[:]...))
				},
			})
		}
	}
	return all
}
