package selftest

import (
	"fmt"
	"slices"

	"gocat/internal/abi"
	"gocat/internal/guests"
)

// timer has guests that ask for a timer and are not what the tender may expect of
// them when it comes.
func (l *list) timer() {
	const words, count = guests.Scratch, guests.Scratch + 0x100
	const group = "the timer's interrupt"
	n := guests.N
	le32 := func(v uint64) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
	unmask := slices.Concat([]byte{0xc7, 0x04, 0x25}, le32(words), le32(0)) // mov dword [words], 0
	counts := slices.Concat([]byte{0xff, 0x04, 0x25}, le32(count))          // inc dword [count]
	iretq := []byte{0x48, 0xcf}
	spin := slices.Concat(unmask, []byte{0xeb, 0xfe})
	// until is code that goes back that far, spinning if to itself, until the
	// handler has counted so many interrupts: cmp dword [count], ticks; jb
	until := func(ticks uint64, back byte) []byte {
		return slices.Concat([]byte{0x81, 0x3c, 0x25}, le32(count), le32(ticks), []byte{0x72, 0xf3 - back})
	}
	add := func(name string, f func(p *guests.Probe), want ...Outcome) {
		l.add(group, name, func(p *guests.Probe) {
			p.Timer(words)
			f(p)
		}, want...)
	}
	// handle makes code the handler of the timer and of undefined instructions.
	handle := func(p *guests.Probe, timer, undefined []byte) {
		store(p, idt+16*32, guests.Gate(p.Code(timer), 8, 0))
		if undefined != nil {
			store(p, idt+16*6, guests.Gate(p.Code(undefined), 8, 0))
		}
		load(p, lidt, 0x20f, idt)
	}

	add("no table", func(p *guests.Probe) { execute(p, spin) }, unhandled)
	add("a table too short", func(p *guests.Probe) {
		handle(p, iretq, nil)
		load(p, lidt, 0x1ff, idt)
		execute(p, spin)
	}, unhandled)
	for _, at := range []uint64{0, hvtBoot, hvtShim, hvtPhys, memEnd, 1 << 47, ^uint64(15)} {
		add(fmt.Sprintf("handler at %#x", at), func(p *guests.Probe) {
			store(p, idt+16*32, guests.Gate(at, 8, 0))
			load(p, lidt, 0x20f, idt)
			execute(p, spin)
		}, unhandled, translation)
		if at != memEnd { // below it is memory
			add(fmt.Sprintf("stack at %#x", at), func(p *guests.Probe) {
				handle(p, iretq, nil)
				execute(p, mov(rsp, at), spin)
			}, unhandled)
		}
		add(fmt.Sprintf("table at %#x", at), func(p *guests.Probe) {
			load(p, lidt, 0xffff, at)
			execute(p, spin)
		}, unhandled)
	}
	add("a table in the words", func(p *guests.Probe) {
		load(p, lidt, 0x20f, words-16*32)
		execute(p, spin)
	}, unhandled)
	add("interrupts that the handler lets interrupt it, down to the text", func(p *guests.Probe) {
		handle(p, slices.Concat([]byte{0x48, 0x81, 0xec, 0, 0, 16, 0}, spin), nil) // sub rsp, 1 MiB
		execute(p, mov(rsp, memEnd), spin)
	}, unhandled)
	add("a handler that stays masked", func(p *guests.Probe) {
		handle(p, slices.Concat(counts, iretq), nil)
		execute(p, unmask, until(1, 0))
		p.Do(p.Load64(n(words)).Differs(n(0), 2))
	}, goesOn)
	add("interrupts one after the other", func(p *guests.Probe) {
		handle(p, slices.Concat(counts, unmask, iretq), nil)
		execute(p, unmask, until(20, 0))
	}, goesOn)
	// Exceptions all the time: interrupts come in the shim as well, and wait.
	add("interrupts between exceptions", func(p *guests.Probe) {
		handle(p, slices.Concat(counts, unmask, iretq),
			slices.Concat([]byte{0x48, 0x83, 0x04, 0x24, 2}, unmask, iretq)) // add qword [rsp], 2
		execute(p, unmask, []byte{0x0f, 0x0b}, until(10, 2)) // ud2
	}, goesOn)
	add("interrupts between hypercalls", func(p *guests.Probe) {
		handle(p, slices.Concat(counts, unmask, iretq), nil)
		execute(p, unmask, mov(rdx, abi.HypercallPort+abi.Walltime), mov(rax, buffer), []byte{0xef}, until(3, 1)) // out dx, eax
	}, goesOn)
	l.endlessTimer(words, unmask)
}

// endlessTimer has handlers that never end, with and without interrupts.
func (l *list) endlessTimer(words uint64, unmask []byte) {
	for name, code := range map[string][]byte{"spin in the timer's handler": nil, "spin in the timer's handler, unmasked, on one stack": unmask} {
		l.endlessGuest(name, func(p *guests.Probe) {
			const stack = buffer + 0x800
			p.Timer(words)
			at := p.Code(slices.Concat(mov(rsp, stack), code, []byte{0xeb, 0xfe}))
			store(p, idt+16*32, guests.Gate(at, 8, 0))
			load(p, lidt, 0x20f, idt)
			forever(p, unmask)
		})
	}
}
