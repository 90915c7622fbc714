package selftest

import (
	"fmt"

	"gocat/internal/abi"
	"gocat/internal/guests"
)

// ring has attacks by way of the network ring.
func (l *list) ring() {
	n := guests.N
	// request puts a request in a slot.
	request := func(p *guests.Probe, slot, op, handle, data, length uint64) {
		at := guests.Ring().Plus(abi.RingEntries + slot%abi.RingSlots*abi.RingEntrySize)
		p.Do(p.Store64(at, n(op|handle<<32)), p.Store64(at.Plus(8), n(data)), p.Store64(at.Plus(16), n(length|slot<<32)))
	}
	submit := func(p *guests.Probe, tail uint64) {
		p.Do(p.Store64(guests.Ring().Plus(abi.RingEntTail), n(tail)), p.Out32(n(abi.RingPort), n(0)))
	}
	add := func(group, name string, f func(*guests.Probe), want ...Outcome) {
		a := l.add(group, name, func(p *guests.Probe) {
			p.Do(p.Move(guests.Ring()).Differs(n(0), 9))
			f(p)
		}, want...)
		a.options = []string{"--net-ring"}
	}
	const indices = "ring indices"
	for _, tail := range []uint64{1, 1023, 1024, 1025, 2048, 1 << 31, 1<<32 - 1} {
		add(indices, fmt.Sprintf("%d requests", tail), func(p *guests.Probe) { submit(p, tail) }, goesOn)
	}
	add(indices, "going back", func(p *guests.Probe) {
		for _, tail := range []uint64{5, 4, 1<<32 - 1, 0, 1 << 31, 3} {
			submit(p, tail)
		}
	}, goesOn)
	add(indices, "the tender's own", func(p *guests.Probe) {
		for _, v := range []uint64{^uint64(0), 0, 1 << 31, 0xdeadbeef00001000} {
			p.Do(p.Store64(guests.Ring().Plus(abi.RingEntHead), n(v)), p.Store64(guests.Ring().Plus(abi.RingComTail+4), n(v)))
			request(p, 0, abi.RingNetRead, netA, buffer, 8)
			submit(p, 1)
		}
	}, goesOn)
	add(indices, "results never taken", func(p *guests.Probe) {
		for slot := range uint64(64) {
			request(p, slot, abi.RingNetRead, netA, buffer, 64)
		}
		p.Do(p.Store64(guests.Ring().Plus(abi.RingEntTail), n(1<<63|3000)))
		p.Do(p.Out32(n(abi.RingPort), n(0)))
	}, goesOn)
	const requests = "ring requests"
	for _, op := range []uint64{0, 3, 4, 1 << 16, 1<<32 - 1} {
		add(requests, fmt.Sprintf("operation %#x", op), func(p *guests.Probe) { request(p, 0, op, netA, buffer, 8); submit(p, 1) }, goesOn)
	}
	for _, handle := range []uint64{0, smallHandle, 3, 63, 64, 1 << 31, 1<<32 - 1} {
		for _, op := range []uint64{abi.RingNetRead, abi.RingNetWrite} {
			add(requests, fmt.Sprintf("operation %d of handle %#x", op, handle), func(p *guests.Probe) { request(p, 0, op, handle, buffer, 8); submit(p, 1) }, goesOn)
		}
	}
	for _, r := range []struct {
		name         string
		addr, length uint64
		read         bool // only wrong to read to
	}{
		{"length 2^32-1", buffer, 1<<32 - 1, false}, {"length 2^31", buffer, 1 << 31, false},
		{"wrapping", ^uint64(0) - 3, 8, false}, {"wrapping to low memory", ^uint64(0xfff), 0x101000, false},
		{"across the end of memory", memEnd - 4, 8, false}, {"the ring itself", memEnd, 8, false},
		{"the system area", hvtPhys, 8, false}, {"the shim", hvtShim, 8, false}, {"low memory", hvtTables, 8, false},
		{"the boot info", hvtBoot, 8, true}, {"the text", text, 8, true}, {"constants", rodata, 8, true},
	} {
		want := ended(fmt.Sprintf("gpa=0x%x, sz=%d", r.addr, r.length))
		for name, op := range map[string]uint64{"read to ": abi.RingNetRead, "write from ": abi.RingNetWrite} {
			if r.read && op == abi.RingNetWrite {
				continue
			}
			add(requests, name+r.name, func(p *guests.Probe) {
				request(p, 0, op, netA, r.addr, r.length)
				submit(p, 1)
				execute(p, []byte{0xeb, 0xfe}) // until the tender has seen it
			}, want)
		}
	}
	// A request that changes while the tender reads it: either it is served as it
	// was, or its range is refused.
	for i, pair := range [][2]uint64{{8, 1<<32 - 1}, {8, 1 << 31}} {
		add("double fetch", fmt.Sprintf("length of a read, %d", i), func(p *guests.Probe) { l.flip(p, 16, pair) }, goesOn, ended("by ring: not all of it is writable"))
	}
	for i, pair := range [][2]uint64{{buffer, text}, {buffer, ^uint64(0) - 3}, {buffer, memEnd}, {buffer, hvtShim}} {
		add("double fetch", fmt.Sprintf("pointer of a read, %d", i), func(p *guests.Probe) { l.flip(p, 8, pair) }, goesOn, ended("by ring: not all of it is writable"))
	}
}

// flip adds steps that ask again and again to read 8 bytes to the buffer, and
// meanwhile change a field of the request between two values.
func (l *list) flip(p *guests.Probe, field uint64, values [2]uint64) {
	n := guests.N
	at := guests.Ring().Plus(abi.RingEntries)
	p.Do(p.Store64(at, n(abi.RingNetRead|netA<<32)), p.Store64(at.Plus(8), n(buffer)), p.Store64(at.Plus(16), n(8)))
	times := uint64(200_000) // as long as it takes to wake the tender up
	if l.setting == CPL0 {   // which some hosts emulate
		times = 200
	}
	// mov rcx, times; loop: mov [rdi], rsi; mov [rdi], rdx; dec rcx; jnz loop; ret
	code := append(mov(rcx, times), 0x48, 0x89, 0x37, 0x48, 0x89, 0x17, 0x48, 0xff, 0xc9, 0x75, 0xf5, 0xc3)
	toggle := guests.Step{Code: n(p.Code(code)), DI: at.Plus(field), SI: n(values[1]), DX: n(values[0])}
	p.Sweep(1, 31, 1, func(tail guests.Value) []guests.Step {
		return []guests.Step{p.Store64(guests.Ring().Plus(abi.RingEntTail), tail), p.Out32(n(abi.RingPort), n(0)), toggle}
	})
}
