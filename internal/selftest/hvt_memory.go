package selftest

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
)

// memory has accesses that are forbidden at every privilege level.
func (l *list) memory() {
	n := guests.N
	for _, at := range []uint64{text, text + 0x800, rodata, rodata + 0x800} {
		l.add("writing text and constants", fmt.Sprintf("write to %#x", at), func(p *guests.Probe) { p.Do(p.Store8(n(at), n(0xc3))) }, translation)
	}
	for _, at := range []uint64{0, 8, hvtLow - 1} {
		want := unhandled
		if l.setting == CPL0 {
			want = ended("without a handler (triple fault)")
		}
		l.add("page zero", fmt.Sprintf("read %#x", at), func(p *guests.Probe) { p.Do(p.Load8(n(at))) }, want)
		l.add("page zero", fmt.Sprintf("write %#x", at), func(p *guests.Probe) { p.Do(p.Store8(n(at), n(0xc3))) }, want)
		l.add("page zero", fmt.Sprintf("jump to %#x", at), func(p *guests.Probe) { p.Do(p.Execute(n(at))) }, want)
	}
	const small = 4
	stay := l.add("exhausting memory", "touch all memory and stay", func(p *guests.Probe) {
		execute(p, toucher(heap, small<<20-4096))
		forever(p)
	}, Outcome{Stopped, 128 + int(unix.SIGTERM), ""})
	stay.memory, stay.endless, stay.check = small, true, printedBegun
	stay.look = func(pid int) error { return peak(pid, small<<20+64<<20) } // and the tender
}

// forbiddenMemory has what the shim's page tables forbid, and walks.
func (l *list) forbiddenMemory() {
	n := guests.N
	l.add("writing text and constants", "the boot info", func(p *guests.Probe) { p.Do(p.Store8(n(hvtBoot), n(1))) }, translation)
	for _, at := range []uint64{rodata, guests.Scratch, buffer, heap, memEnd / 2, memEnd - 64, hvtBoot, hvtBoot + 0x1000} {
		l.add("executing data", fmt.Sprintf("jump to %#x", at), func(p *guests.Probe) {
			if at >= guests.Scratch {
				p.Do(p.Store8(n(at), n(0xc3)))
			}
			p.Do(p.Execute(n(at)))
		}, translation)
	}
	for name, at := range map[string]uint64{"GDT": hvtShim, "IDT": hvtShim + 0x100, "gates": hvtShim + 0x400, "TSS": hvtShim + 0x1000, "stack": hvtShim + 0x2ff8} {
		l.add("the shim", "read its "+name, func(p *guests.Probe) { p.Do(p.Load8(n(at))) }, translation)
		l.add("the shim", "write its "+name, func(p *guests.Probe) { p.Do(p.Store8(n(at), n(1))) }, translation)
		l.add("the shim", "jump to its "+name, func(p *guests.Probe) { p.Do(p.Execute(n(at))) }, translation)
	}
	// A guest that survives its faults: each place has to have one.
	const pageFault, protection = 14, 13
	walk := func(name string, from, to, stride uint64) {
		l.add("walking the address space", name, func(p *guests.Probe) {
			p.Catch()
			p.Sweep(from, to, stride, func(at guests.Value) []guests.Step {
				return []guests.Step{p.Load8(at).Equals(guests.Fault(pageFault), 2), p.Store8(at, n(1)).Equals(guests.Fault(pageFault), 3)}
			})
		}, goesOn)
	}
	walk("all below the boot info", 0, hvtLow, 512)
	walk("2 MiB past its memory", memEnd, memEnd+2<<20, 4096)
	walk("to 4 GiB", memEnd, 4<<30, 8<<20)
	walk("to 512 GiB", 4<<30, hvtShim, 1<<30)
	walk("behind the shim", hvtShim+3<<12, hvtShim+2<<20, 4096)
	walk("above 512 GiB", 1<<39, 1<<47, 1<<40)
	walk("the kernel's half", 0xffff800000000000, 0xfffff00000000000, 1<<40)
	l.add("non-canonical addresses", "loads, stores and jumps", func(p *guests.Probe) {
		p.Catch()
		for _, at := range []uint64{1 << 47, 1 << 62, 1 << 63, 0x8000ffffffffffff, 0x7fffffffffffffff, 0xffff7fffffffffff} {
			p.Do(p.Load8(n(at)).Equals(guests.Fault(protection), 2), p.Store8(n(at), n(1)).Equals(guests.Fault(protection), 3))
		}
	}, goesOn)
	for _, at := range []uint64{1 << 47, 1 << 63, 0xffff7fffffffffff} {
		l.add("non-canonical addresses", fmt.Sprintf("jump to %#x", at), func(p *guests.Probe) { p.Do(p.Execute(n(at))) }, unhandled, ended("which is no address"))
		l.add("non-canonical addresses", fmt.Sprintf("lretq to %#x", at), func(p *guests.Probe) {
			execute(p, []byte{0x6a, 0x08}, mov(rax, at), []byte{0x50, 0x48, 0xcb})
		}, ended("which is no address"))
		l.add("non-canonical addresses", fmt.Sprintf("iretq to %#x", at), func(p *guests.Probe) {
			execute(p, mov(rax, at), []byte{0x6a, 0x10, 0x54, 0x9c, 0x6a, 0x08, 0x50, 0x48, 0xcf})
		}, ended("which is no address"))
		l.add("non-canonical addresses", fmt.Sprintf("push at %#x", at), func(p *guests.Probe) { execute(p, mov(rsp, at), []byte{0x50}) }, unhandled)
		l.add("non-canonical addresses", fmt.Sprintf("fault with the stack at %#x", at), func(p *guests.Probe) {
			p.Catch()
			execute(p, mov(rsp, at), []byte{0x0f, 0x0b})
		}, unhandled)
	}
}

// endlessGuest adds a guest that says that it begins and never ends.
func (l *list) endlessGuest(name string, f func(*guests.Probe)) {
	a := l.add("guests that never end", name, f, Outcome{Stopped, 128 + int(unix.SIGTERM), ""})
	a.endless, a.check = true, printedBegun
}

// endless has guests that never end by themselves.
func (l *list) endless() {
	add := l.endlessGuest
	add("spin", func(p *guests.Probe) { forever(p) })
	add("poll for ever", func(p *guests.Probe) {
		p.Hypercall(abi.NetRead, guests.Scratch, guests.N(netA), guests.N(buffer), guests.N(64), guests.N(0)) // what waits there
		p.Do(p.Puts(begun))
		p.Hypercall(abi.Poll, guests.Scratch, guests.N(1<<63-1), guests.N(0), guests.N(0))
	})
	// mov dx, 0x501; mov eax, scratch; loop: out dx, eax; jmp loop
	add("hypercalls for ever", func(p *guests.Probe) {
		forever(p, mov(rdx, abi.HypercallPort+abi.Walltime), mov(rax, guests.Scratch), []byte{0xef, 0xeb, 0xfd})
	})
	ring := func(name string, f func(*guests.Probe)) {
		add(name, f)
		l.all[len(l.all)-1].options = []string{"--net-ring"}
	}
	// mov dx, 0x600; loop: out dx, eax; jmp loop
	ring("kick the ring for ever", func(p *guests.Probe) { forever(p, mov(rdx, abi.RingPort), []byte{0xef, 0xeb, 0xfd}) })
	// loop: inc dword [rdi]; jmp loop
	ring("requests for ever", func(p *guests.Probe) {
		p.Do(p.Puts(begun))
		step := p.Execute(guests.N(p.Code([]byte{0xff, 0x07, 0xeb, 0xfc})))
		step.DI = guests.Ring().Plus(abi.RingEntTail)
		p.Do(step)
	})
	if l.setting == CPL0 {
		return
	}
	// Handlers that fault in turn.
	table := func(p *guests.Probe, handler uint64) {
		var idt []byte
		for range 32 {
			idt = append(idt, guests.Gate(handler, 8, 0)...)
		}
		at := p.Data(idt)
		p.Do(p.LoadIDT(p.Data(append([]byte{0xff, 1}, words(at)...))))
	}
	stack := mov(rsp, memEnd-0x1000) // again and again, or it would run out
	for name, code := range map[string][]byte{
		"invalid opcode": {0x0f, 0x0b}, "breakpoint": {0xcc}, "division": {0x31, 0xc9, 0xf7, 0xf1}, "page zero": {0x8a, 0x04, 0x25, 0, 0, 0, 0},
		"protection": {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x8a, 0x00}, "single step": {0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x90, 0xeb, 0xfe},
	} {
		add("handler that faults, "+name, func(p *guests.Probe) {
			body := append(append([]byte{}, stack...), code...)
			at := p.Code(body)
			table(p, at)
			p.Do(p.Puts(begun), p.Execute(guests.N(at)))
		})
	}
	add("privileged instructions for ever", func(p *guests.Probe) {
		forever(p, []byte{0x0f, 0x20, 0xc0, 0xeb, 0xfb}) // mov rax, cr0; jmp
	})
}
