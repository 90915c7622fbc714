package selftest

import (
	"fmt"

	"gocat/internal/abi"
	"gocat/internal/guests"
)

// Guest addresses of the hvt ABI and of gocat's shim (docs/design.md).
const (
	hvtLow    = 0x10000        // below it nothing is mapped
	hvtBoot   = 0x10000        // boot info, manifest, command line; read only
	hvtTables = 0x2000         // Solo5's tender has its page tables here
	hvtPhys   = 1 << 32        // the system area, by physical address
	hvtShim   = 0x7f_c000_0000 // and by linear: tables, TSS, stack, one page each
	buffer    = guests.Scratch + 0x1000
)

// ended is the end of a guest by the tender, with a line.
func ended(line string) Outcome { return Outcome{Ended, 1, line} }

// goesOn is a guest that was refused what it tried and went on.
var goesOn = Outcome{Refused, cameBack, ""}

// translation is the tender's line for an access that the guest's page tables
// forbid, and unhandled that for an exception which the guest has no handler for.
var (
	translation = ended("KVM: host/guest translation fault: ")
	unhandled   = ended("guest fault #")
)

// list collects attacks of one setting.
type list struct {
	setting Setting
	all     []*Attack
}

// add adds an attack that ends as want says, or as one of them.
func (l *list) add(group, name string, f func(*guests.Probe), want ...Outcome) *Attack {
	a := &Attack{Group: group, Name: name, Setting: l.setting, Want: want, add: f}
	l.all = append(l.all, a)
	return a
}

// hvtAttacks returns all attacks of hvt guests. The first is that of a guest that
// makes a hypercall which there is not.
func hvtAttacks(s Setting) []*Attack {
	l := &list{setting: s}
	l.add("a hypercall that there is not", "number 0",
		func(p *guests.Probe) { p.Do(p.Out32(guests.N(abi.HypercallPort), guests.N(guests.Scratch))) }, ended("num=0"))
	l.badStructs()
	l.badRanges()
	l.badHandles()
	l.badPorts()
	l.ring()
	l.memory()
	if s == HVT {
		l.forbiddenMemory()
		l.privileged()
		l.segments()
		l.tables()
		l.timer()
	} else {
		l.levelZero()
	}
	l.endless()
	return append(l.all, answers(s)...)
}

// badStructs are hypercalls whose argument structure is not where one may be.
func (l *list) badStructs() {
	for _, where := range []struct {
		name string
		addr uint64
		read bool // a structure that is only read may be here
	}{
		{"at zero", 0, false},
		{"in low memory", hvtTables, false},
		{"in the boot info", hvtBoot, true},
		{"in the text", text, true},
		{"at the end of the text", rodata - 4, true},
		{"across the end of memory", memEnd - 4, false},
		{"past memory", memEnd, false},
		{"where it wraps", 0xfffffffc, false},
		{"at 2 GiB", 1 << 31, false},
	} {
		for nr := uint64(abi.Walltime); nr <= abi.Halt; nr++ {
			if where.read && (nr == abi.Puts || nr == abi.Halt) {
				continue
			}
			l.add("hypercall structures", fmt.Sprintf("hypercall %d, %s", nr, where.name), func(p *guests.Probe) {
				p.Do(p.Out32(guests.N(abi.HypercallPort+nr), guests.N(where.addr)))
			}, ended(fmt.Sprintf("gpa=0x%x", where.addr)))
		}
	}
}

// badRanges are data pointers and lengths that leave the guest's memory, or
// results that would be written where the guest may not write.
func (l *list) badRanges() {
	n := guests.N
	const group = "pointers and lengths in hypercalls"
	for _, r := range []struct {
		name      string
		addr, len uint64
		out       bool // only wrong to write to
	}{
		{"length 2^32-1", buffer, 1<<32 - 1, false},
		{"length 2^63", buffer, 1 << 63, false},
		{"length 2^64-1", buffer, ^uint64(0), false},
		{"wrapping pointer", ^uint64(0) - 3, 8, false},
		{"wrapping to low memory", ^uint64(0xfff), 0x101000, false},
		{"across the end of memory", memEnd - 4, 8, false},
		{"just past the end", memEnd, 1, false},
		{"the system area", hvtPhys, 8, false},
		{"the shim", hvtShim, 8, false},
		{"4 GiB above", 1<<32 + buffer, 8, false},
		{"low memory", hvtTables, 8, false},
		{"below the boot info", hvtLow - 4, 8, false},
		{"the boot info", hvtBoot, 8, true},
		{"the text", text, 8, true},
		{"constants", rodata, 8, true},
		{"from low memory into its own", 0xffff8, 16, true},
	} {
		want := ended(fmt.Sprintf("gpa=0x%x, sz=%d", r.addr, r.len))
		add := func(name string, nr uint64, args ...guests.Value) {
			l.add(group, name+" "+r.name, func(p *guests.Probe) { p.Hypercall(nr, guests.Scratch, args...) }, want)
		}
		fits := r.len <= smallSize // else the device refuses it first
		add("net read", abi.NetRead, n(netA), n(r.addr), n(r.len), n(0))
		if fits {
			add("block read", abi.BlockRead, n(smallHandle), n(0), n(r.addr), n(r.len), n(0))
		}
		if r.out {
			continue
		}
		add("puts", abi.Puts, n(r.addr), n(r.len))
		add("net write", abi.NetWrite, n(netA), n(r.addr), n(r.len), n(0))
		if fits {
			add("block write", abi.BlockWrite, n(smallHandle), n(0), n(r.addr), n(r.len), n(0))
		}
		if r.len == 8 {
			l.add(group, "halt cookie "+r.name, func(p *guests.Probe) { p.Hypercall(abi.Halt, guests.Scratch, n(r.addr), n(0)) },
				ended(fmt.Sprintf("gpa=0x%x, sz=512", r.addr)))
		}
	}
}

// badHandles are handles of no device, or of one of the other type, and ranges
// outside the disk: EINVAL for the guest.
func (l *list) badHandles() {
	n := guests.N
	const scratch = guests.Scratch
	net := func(p *guests.Probe, handle uint64) {
		for _, nr := range []uint64{abi.NetRead, abi.NetWrite} {
			p.Hypercall(nr, scratch, n(handle), n(buffer), n(8), n(0))
			p.Do(p.Move(guests.At32(scratch+24)).Equals(n(abi.ResultInvalid), 2))
		}
	}
	block := func(p *guests.Probe, handle, offset, length uint64) {
		for _, nr := range []uint64{abi.BlockRead, abi.BlockWrite} {
			p.Hypercall(nr, scratch, n(handle), n(offset), n(buffer), n(length), n(0))
			p.Do(p.Move(guests.At32(scratch+32)).Equals(n(abi.ResultInvalid), 3))
		}
	}
	for _, h := range []uint64{0, 3, 4, 63, 64, 65, 1 << 31, 1<<32 - 1, 1 << 32, 1<<32 + 1, 1<<32 + 2, 1 << 63, 1<<63 + 1, ^uint64(0)} {
		l.add("handles", fmt.Sprintf("%#x", h), func(p *guests.Probe) {
			net(p, h)
			block(p, h, 0, 512)
		}, goesOn)
	}
	l.add("handles", "of the other type", func(p *guests.Probe) {
		net(p, smallHandle)
		block(p, netA, 0, 512)
	}, goesOn)
	for _, r := range [][2]uint64{{smallSize, 0}, {smallSize, 512}, {smallSize - 512, 1024}, {0, smallSize + 1}, {1, smallSize}, {^uint64(0), 512},
		{^uint64(511), 1024}, {1, ^uint64(0)}, {1 << 63, 1 << 63}, {1 << 32, 512}, {0, 1 << 32}, {1 << 62, 1}} {
		l.add("offsets and lengths on the disk", fmt.Sprintf("%#x+%#x", r[0], r[1]), func(p *guests.Probe) { block(p, smallHandle, r[0], r[1]) }, goesOn)
	}
}

// badPorts are port accesses that are no hypercall.
func (l *list) badPorts() {
	n := guests.N
	const group = "I/O ports"
	add := func(name string, port uint64, f func(p *guests.Probe) guests.Step) {
		l.add(group, name, func(p *guests.Probe) { p.Do(f(p)) }, ended(fmt.Sprintf("port=0x%x", port)))
	}
	for _, port := range []uint64{0, 0x20, 0x21, 0x40, 0x43, 0x60, 0x64, 0x70, 0x80, 0x92, 0xa0, 0xb2, 0x3f8, 0x402, 0x4ff, 0x509, 0x50b, 0x50c,
		0x510, 0x5fc, 0x5ff, 0x600, 0x601, 0x604, 0xcf8, 0xcf9, 0xcfc, 0x5658, 0xffff} {
		add(fmt.Sprintf("out %#x", port), port, func(p *guests.Probe) guests.Step { return p.Out32(n(port), n(guests.Scratch)) })
		add(fmt.Sprintf("in %#x", port), port, func(p *guests.Probe) guests.Step { return p.In32(n(port)) })
	}
	for port := uint64(abi.HypercallPort + 1); port <= abi.HypercallPort+abi.Halt; port++ {
		add(fmt.Sprintf("out %#x of 8 bits", port), port, func(p *guests.Probe) guests.Step { return p.Out8(n(port), n(guests.Scratch)) })
		add(fmt.Sprintf("out %#x of 16 bits", port), port, func(p *guests.Probe) guests.Step { return p.Out16(n(port), n(guests.Scratch)) })
		add(fmt.Sprintf("in %#x", port), port, func(p *guests.Probe) guests.Step { return p.In32(n(port)) })
	}
	// mov edx, 0x502; mov esi, buffer; mov ecx, 3; rep outsd: where KVM takes one
	// element at a time this is a hypercall like any other.
	l.add(group, "string out", func(p *guests.Probe) {
		execute(p, mov(rdx, abi.HypercallPort+abi.Puts), mov(rsi, buffer), mov(rcx, 3), []byte{0xf3, 0x6f})
	}, ended("port=0x502"), ended("gpa=0x0, sz=16"))
	l.add(group, "string in", func(p *guests.Probe) {
		execute(p, mov(rdx, abi.HypercallPort+abi.Puts), mov(rdi, buffer), mov(rcx, 3), []byte{0xf3, 0x6d})
	}, ended("port=0x502"))
	l.add(group, "string in to the text", func(p *guests.Probe) {
		execute(p, mov(rdx, abi.HypercallPort+abi.Puts), mov(rdi, text), mov(rcx, 3), []byte{0xf3, 0x6d})
	}, ended("port=0x502"), translation)
}
