package selftest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"gocat/internal/guests"
)

// privileged has instructions that only level 0 may execute. What gocat emulates
// for Solo5's bindings changes nothing but what the guest believes to have.
func (l *list) privileged() {
	n := guests.N
	not := ended("used an instruction that is not emulated: ")
	add := func(group, name string, code []byte, want ...Outcome) {
		l.add(group, name, func(p *guests.Probe) { execute(p, mov(rdi, guests.Scratch), code) }, want...)
	}
	const registers = "control and debug registers"
	for r := byte(0); r < 16; r++ {
		rex := []byte{}
		if r >= 8 {
			rex = []byte{0x44}
		}
		modrm := 0xc0 | r&7<<3 // with rax
		to, from := slices.Concat(rex, []byte{0x0f, 0x22, modrm}), slices.Concat(rex, []byte{0x0f, 0x20, modrm})
		want := []Outcome{not, unhandled}
		if r == 0 || r == 2 || r == 4 {
			want = []Outcome{goesOn} // as it was at the start
		}
		add(registers, fmt.Sprintf("read cr%d", r), from, want...)
		for _, v := range []uint64{0, 1, ^uint64(0), 1 << 31} {
			if r == 2 && v == 0 {
				continue // as it is
			}
			add(registers, fmt.Sprintf("write %#x to cr%d", v, r), append(mov(rax, v), to...), not, unhandled)
		}
		if r < 8 {
			add(registers, fmt.Sprintf("read dr%d", r), []byte{0x0f, 0x21, modrm}, not, unhandled)
			add(registers, fmt.Sprintf("write dr%d", r), append(mov(rax, guests.Scratch), 0x0f, 0x23, modrm), not, unhandled)
		}
	}
	add(registers, "lmsw", append(mov(rax, 0), 0x0f, 0x01, 0xf0), not, unhandled)
	add(registers, "xsetbv", slices.Concat(mov(rcx, 0), mov(rax, 7), mov(rdx, 0), []byte{0x0f, 0x01, 0xd1}), not, unhandled)

	const msrs = "model-specific registers"
	for _, msr := range []uint64{0, 0x10, 0x17, 0x1b, 0x3a, 0x3b, 0x48, 0x49, 0x8b, 0xc1, 0xce, 0xe7, 0xfe, 0x10a, 0x122, 0x174, 0x175, 0x176, 0x179, 0x186, 0x198, 0x19c, 0x1a0,
		0x1d9, 0x200, 0x277, 0x2ff, 0x309, 0x38f, 0x400, 0x480, 0x570, 0x600, 0x6e0, 0x800, 0x802, 0x830, 0xda0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000103, 0xc0010010, 0xc0010015, 0xc001001f,
		0xc0010058, 0xc0010114, 0xc0010117, 0xc001011f, 0xc0010130, 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564df0, 0x4b564df1, 0x40000000, 0x40000001, 0x40000070, 0xffffffff} {
		if msr != 0xc0000080 { // EFER reads as it is
			add(msrs, fmt.Sprintf("read %#x", msr), append(mov(rcx, msr), 0x0f, 0x32), not, unhandled)
		}
		for _, v := range []uint64{0, guests.Scratch | 1, ^uint64(0)} {
			add(msrs, fmt.Sprintf("write %#x to %#x", v, msr), slices.Concat(mov(rcx, msr), mov(rax, v&0xffffffff), mov(rdx, v>>32), []byte{0x0f, 0x30}), not, unhandled)
		}
	}
	for _, v := range []uint64{1 << 47, 1 << 63, 0x8000000000000fff} {
		for _, msr := range []uint64{0xc0000100, 0xc0000101, 0xc0000102} {
			add(msrs, fmt.Sprintf("base %#x to %#x", v, msr), slices.Concat(mov(rcx, msr), mov(rax, v&0xffffffff), mov(rdx, v>>32), []byte{0x0f, 0x30}), unhandled)
		}
	}
	// A base that is an address, but none of the guest's: 8 bytes there.
	for _, base := range []uint64{0, hvtShim, hvtShim + 0x1000, hvtPhys, 0xffff800000000000} {
		l.add(msrs, fmt.Sprintf("read by FS at %#x", base), func(p *guests.Probe) {
			execute(p, mov(rcx, 0xc0000100), mov(rax, base&0xffffffff), mov(rdx, base>>32), []byte{0x0f, 0x30, // wrmsr
				0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0}) // mov rax, fs:[0]
		}, unhandled, translation)
	}

	const group = "privileged instructions"
	for name, code := range map[string][]byte{
		"invd": {0x0f, 0x08}, "wbinvd": {0x0f, 0x09}, "invlpg": {0x0f, 0x01, 0x3f}, "invpcid": {0x66, 0x0f, 0x38, 0x82, 0x07},
		"lldt": {0x0f, 0x00, 0xd0}, "swapgs": {0x0f, 0x01, 0xf8}, "rdpmc": {0x0f, 0x33}, "rdpmc of a counter": append(mov(rcx, 1<<30), 0x0f, 0x33),
		"monitor": {0x0f, 0x01, 0xc8}, "mwait": {0x0f, 0x01, 0xc9}, "sysret": {0x48, 0x0f, 0x07}, "sysret of 32 bits": {0x0f, 0x07},
		"sysexit": {0x0f, 0x35}, "sysexit of 64 bits": {0x48, 0x0f, 0x35}, "rsm": {0x0f, 0xaa}, "getsec": {0x0f, 0x37}, "encls": {0x0f, 0x01, 0xcf},
		"xsaves": {0x0f, 0xc7, 0x2f}, "xrstors": {0x0f, 0xc7, 0x1f}, "ud2": {0x0f, 0x0b}, "clac": {0x0f, 0x01, 0xca}, "stac": {0x0f, 0x01, 0xcb},
		"skinit": {0x0f, 0x01, 0xde}, "stgi": {0x0f, 0x01, 0xdc}, "clgi": {0x0f, 0x01, 0xdd}, "vmrun": {0x0f, 0x01, 0xd8}, "vmload": {0x0f, 0x01, 0xda},
		"vmsave": {0x0f, 0x01, 0xdb}, "invlpga": {0x0f, 0x01, 0xdf}, "vmxon": {0xf3, 0x0f, 0xc7, 0x37}, "vmlaunch": {0x0f, 0x01, 0xc2}, "vmxoff": {0x0f, 0x01, 0xc4},
		"vmread": {0x0f, 0x78, 0xc0}, "vmwrite": {0x0f, 0x79, 0xc0}, "invept": {0x66, 0x0f, 0x38, 0x80, 0x07}, "pconfig": {0x0f, 0x01, 0xc5},
		"wrussq": {0x66, 0x48, 0x0f, 0x38, 0xf5, 0x07}, "senduipi": {0xf3, 0x0f, 0xc7, 0xf0}, "hreset": {0xf3, 0x0f, 0x3a, 0xf0, 0xc0, 0},
		"ltr of the text": {0x0f, 0x00, 0x1c, 0x25, 0xff, 0xff, 0xff, 0x7f}, "lgdt from nowhere": append(mov(rax, 0xdead0000), 0x0f, 0x01, 0x10),
		"lidt from the end of memory": append(mov(rax, memEnd-4), 0x0f, 0x01, 0x18), "lidt from the shim": append(mov(rax, hvtShim), 0x0f, 0x01, 0x18),
		"lidt from where it wraps": append(mov(rax, ^uint64(3)), 0x0f, 0x01, 0x18),
	} {
		add(group, name, code, not, unhandled, ended("gpa=0x"), translation)
	}
	for _, code := range [][]byte{{0xf4}, {0xfa, 0xf4}, {0xfb, 0xf4}} {
		add(group, fmt.Sprintf("hlt (% x)", code), code, ended("halted without an exit status"))
	}
	// KVM's own calls: it answers with an error, or they fault.
	for name, code := range map[string][]byte{"vmcall": {0x0f, 0x01, 0xc1}, "vmmcall": {0x0f, 0x01, 0xd9}, "tdcall": {0x66, 0x0f, 0x01, 0xcc}} {
		for _, nr := range []uint64{0, 1, 5, 9, 10, 11, 12, 1 << 31, ^uint64(0)} {
			l.add("hypercalls of KVM's", fmt.Sprintf("%s %d", name, int64(nr)), func(p *guests.Probe) {
				p.Catch()
				code := p.Code(slices.Concat(mov(rbx, buffer), mov(rcx, 0), mov(rdx, 0), code, ret))
				s := p.Execute(n(code)).Differs(n(0), 2)
				s.AX = n(nr)
				p.Do(s)
			}, goesOn, not, unhandled, translation)
		}
	}
	for name, code := range map[string][]byte{"syscall": {0x0f, 0x05}, "sysenter": {0x0f, 0x34}} {
		for _, nr := range []uint64{0, 1, 39, 60, 231, 0x1000000} {
			add("system calls", fmt.Sprintf("%s %d", name, nr), append(mov(rax, nr), code...), unhandled, not)
		}
	}
	for name, flags := range map[string]uint32{"alignment check": 0x40000, "direction": 0x400, "nested task": 0x4000, "resume": 0x10000,
		"identification": 0x200000, "all that do not trap": 0x2544d5} {
		// pushfq; or dword [rsp], flags; popfq; mov eax, [rdi+1]; push 2; popfq
		set := binary.LittleEndian.AppendUint32([]byte{0x9c, 0x81, 0x0c, 0x24}, flags)
		l.add("flags that level 0 has no use for", name, func(p *guests.Probe) {
			execute(p, mov(rdi, guests.Scratch), set, []byte{0x9d, 0x8b, 0x47, 0x01, 0x6a, 0x02, 0x9d})
		}, goesOn)
	}
	// Gates of the IDT that are the processor's own, and those that there are not.
	l.add("software interrupts", "int 0 to 255", func(p *guests.Probe) {
		p.Catch()
		var code []byte
		for v := range 256 {
			code = append(code, 0xcd, byte(v), 0xc3, 0xcc)
		}
		at := p.Code(code)
		p.Sweep(at, at+4*256, 4, func(at guests.Value) []guests.Step {
			return []guests.Step{p.Execute(at).Differs(n(0), 2)} // what a return would have
		})
	}, goesOn)
}

// segments has ways to reach other segments, and with them other levels.
func (l *list) segments() {
	n := guests.N
	for name, code := range map[string][]byte{
		"ds": {0x8e, 0xd8}, "es": {0x8e, 0xc0}, "fs": {0x8e, 0xe0}, "gs": {0x8e, 0xe8}, "ss": {0x8e, 0xd0},
	} {
		l.add("segment registers", "every selector into "+name, func(p *guests.Probe) {
			p.Catch()
			at := p.Code(slices.Concat([]byte{0x89, 0xf8}, code, []byte{0x31, 0xc0, 0xc3})) // mov eax, edi; mov sreg, eax; xor eax, eax; ret
			p.Sweep(0, 0x200, 1, func(selector guests.Value) []guests.Step {
				s := p.Execute(n(at))
				s.DI = selector
				return []guests.Step{s}
			})
			p.Do(p.Load8(n(0)).Equals(guests.Fault(14), 2)) // as protected as before
		}, goesOn)
	}
	// Each selector by each kind of far transfer, to code that would say where it
	// is: the level is the lowest bits of CS.
	for selector := uint64(0); selector < 0x48; selector++ {
		if selector >= 0x30 && selector&3 != 3 {
			continue
		}
		for name, transfer := range map[string]func(at uint64) []byte{
			"far return": func(at uint64) []byte {
				return slices.Concat(mov(rax, selector), []byte{0x50}, mov(rax, at), []byte{0x50, 0x48, 0xcb})
			},
			"iretq":    func(at uint64) []byte { return iretq2(selector, selector, at) },
			"far jump": func(at uint64) []byte { return far(0x2f, at, selector) },
			"far call": func(at uint64) []byte { return far(0x1f, at, selector) },
		} {
			l.add("far transfers", fmt.Sprintf("%s to %#x", name, selector), func(p *guests.Probe) {
				p.Catch()
				// mov eax, cs; and eax, 3; ret, by a stack that the transfer may have left
				level := p.Code(slices.Concat([]byte{0x8c, 0xc8, 0x83, 0xe0, 0x03}, mov(rcx, buffer), []byte{0x48, 0x89, 0x01}, []byte{0x0f, 0x0b}))
				p.Do(p.Store64(n(buffer), n(3)))
				execute(p, transfer(level))
				p.Do(p.Move(guests.At(buffer)).Equals(n(3), 2))
			}, goesOn, unhandled, ended("not emulated"))
		}
	}
}

// far is an indirect far jump or call to at in a segment.
func far(modrm byte, at, selector uint64) []byte {
	return slices.Concat(mov(rdi, buffer+64), mov(rax, at), []byte{0x48, 0x89, 0x07}, // mov [rdi], rax
		mov(rax, selector), []byte{0x48, 0x89, 0x47, 0x08, 0x48, 0xff, modrm}) // mov [rdi+8], rax; jmp/call far [rdi]
}

// iretq2 is code that goes to at with other segments.
func iretq2(cs, ss, at uint64) []byte {
	return slices.Concat(mov(rcx, memEnd-0x1000), mov(rax, ss), []byte{0x50, 0x51, 0x9c}, // push ss; push rcx; pushfq
		mov(rax, cs), []byte{0x50}, mov(rax, at), []byte{0x50, 0x48, 0xcf})
}

// idt is where guests have a table of handlers of their own.
const idt = guests.Scratch + 0x2000

// store adds the steps that store b, of a multiple of 8 bytes.
func store(p *guests.Probe, at uint64, b []byte) {
	for i := 0; i+8 <= len(b); i += 8 {
		p.Do(p.Store64(guests.N(at+uint64(i)), guests.N(binary.LittleEndian.Uint64(b[i:]))))
	}
}

// Instructions of load.
const lgdt, lidt = 0x10, 0x18

// load adds the steps that make a table of limit and base the guest's.
func load(p *guests.Probe, instruction byte, limit, base uint64) {
	const operand = guests.Scratch + 0x1800
	n := guests.N
	p.Do(p.Store64(n(operand), n(limit|base<<16)), p.Store64(n(operand+8), n(base>>48)))
	execute(p, mov(rax, operand), []byte{0x0f, 0x01, instruction})
}

// tables has tables of the guest's own that are not what a table should be: the
// tender reads them when it delivers an exception.
func (l *list) tables() {
	const gdt, tss = guests.Scratch + 0x4000, guests.Scratch + 0x5000
	n := guests.N
	ud2 := []byte{0x0f, 0x0b}
	strange := []uint64{0, 8, hvtTables, hvtBoot, text, rodata, guests.Scratch, memEnd - 8, memEnd, hvtPhys, hvtShim, hvtShim + 0x100, 1 << 47, 1 << 63, ^uint64(0), ^uint64(15), ^uint64(0x60), 0xffff800000000000}
	for _, base := range strange {
		for _, limit := range []uint64{0, 15, 0x6f, 0xffff} {
			l.add("descriptor tables", fmt.Sprintf("IDT at %#x, limit %#x", base, limit), func(p *guests.Probe) {
				load(p, lidt, limit, base)
				execute(p, ud2)
			}, unhandled, translation)
		}
		l.add("descriptor tables", fmt.Sprintf("handler at %#x", base), func(p *guests.Probe) {
			for v := range uint64(32) {
				want := guests.Gate(base, 8, 0)
				if v != 6 {
					want = make([]byte, 16)
				}
				store(p, idt+16*v, want)
			}
			load(p, lidt, 0x1ff, idt)
			execute(p, ud2)
		}, unhandled, translation)
		noStack := base != guests.Scratch && base != memEnd-8 && base != memEnd // below these is memory
		if noStack {
			l.add("descriptor tables", fmt.Sprintf("stack at %#x", base), func(p *guests.Probe) {
				at := p.Code([]byte{0xeb, 0xfe})
				store(p, idt+16*6, guests.Gate(at, 8, 0))
				load(p, lidt, 0x6f, idt)
				execute(p, mov(rsp, base), ud2)
			}, unhandled)
		}
		// By the interrupt stack table: a GDT, a TSS or a stack that are nowhere.
		for ist := uint64(1); ist <= 7; ist += 3 {
			gate := guests.Gate(text, 8, ist)
			l.add("task states", fmt.Sprintf("GDT at %#x, stack %d", base, ist), func(p *guests.Probe) {
				store(p, idt+16*6, gate)
				load(p, lidt, 0x6f, idt)
				load(p, lgdt, 0xffff, base)
				execute(p, mov(rax, 0xfff0), []byte{0x0f, 0x00, 0xd8}, ud2) // ltr
			}, unhandled)
			l.add("task states", fmt.Sprintf("TSS at %#x, stack %d", base, ist), func(p *guests.Probe) {
				store(p, idt+16*6, gate)
				store(p, gdt+8, taskDescriptor(base))
				load(p, lidt, 0x6f, idt)
				load(p, lgdt, 23, gdt)
				execute(p, mov(rax, 8), []byte{0x0f, 0x00, 0xd8}, ud2)
			}, unhandled, translation)
			if !noStack {
				continue
			}
			l.add("task states", fmt.Sprintf("stack %d at %#x", ist, base), func(p *guests.Probe) {
				at := p.Code([]byte{0xeb, 0xfe})
				store(p, idt+16*6, guests.Gate(at, 8, ist))
				store(p, gdt+8, taskDescriptor(tss))
				p.Do(p.Store64(n(tss+36+8*(ist-1)), n(base)))
				load(p, lidt, 0x6f, idt)
				load(p, lgdt, 23, gdt)
				execute(p, mov(rax, 8), []byte{0x0f, 0x00, 0xd8}, ud2)
			}, unhandled)
		}
	}
	for _, selector := range []uint64{1, 7, 8, 0x10, 0x20, 0xfff8, 0xffff} {
		l.add("task states", fmt.Sprintf("selector %#x without a GDT", selector), func(p *guests.Probe) {
			store(p, idt+16*6, guests.Gate(text, 8, 1))
			load(p, lidt, 0x6f, idt)
			execute(p, mov(rax, selector), []byte{0x0f, 0x00, 0xd8}, ud2)
		}, unhandled)
	}
	for _, gate := range []uint64{0, 0x85, 0x86, 0x87, 0x8c, 0x0e, 0xef, 0x80} { // types other than a present interrupt or trap gate
		l.add("descriptor tables", fmt.Sprintf("gate of type %#x", gate), func(p *guests.Probe) {
			b := guests.Gate(text, 8, 0)
			b[5] = byte(gate)
			store(p, idt+16*6, b)
			load(p, lidt, 0x6f, idt)
			execute(p, ud2)
		}, unhandled)
	}
}

// taskDescriptor is a descriptor of a 64-bit TSS.
func taskDescriptor(base uint64) []byte {
	return words(0x67|base&0xffffff<<16|0x89<<40|base>>24&0xff<<56, base>>32)
}

// levelZero has what a guest at level 0 can do besides: it has the virtual
// machine to itself, and still nothing of the host's.
func (l *list) levelZero() {
	const pml4, pdpt, directories, gib = 0x400000, 0x401000, 0x402000, 1 << 30
	n := guests.N
	// Tables of the guest's own: linear GiB i is physical GiB gibs[i], all of it to
	// be written and executed.
	remap := func(p *guests.Probe, gibs ...uint64) {
		p.Do(p.Store64(n(pml4), n(pdpt|3)))
		for i, g := range gibs {
			at := directories + 0x1000*uint64(i)
			p.Do(p.Store64(n(pdpt+8*uint64(i)), n(at|3)))
			// mov rdi, at; mov rax, physical; mov rcx, 512; loop: mov [rdi], rax;
			// add rdi, 8; add rax, 2 MiB; dec rcx; jnz loop
			execute(p, mov(rdi, at), mov(rax, g*gib|0x83), mov(rcx, 512), []byte{0x48, 0x89, 0x07, 0x48, 0x83, 0xc7, 8,
				0x48, 0x05, 0, 0, 0x20, 0, 0x48, 0xff, 0xc9, 0x75, 0xee})
		}
		execute(p, mov(rax, pml4), []byte{0x0f, 0x22, 0xd8}) // mov cr3, rax
	}
	const group = "page tables of its own"
	shutdown := ended("without a handler (triple fault)")
	l.add(group, "use them", func(p *guests.Probe) { remap(p, 0) }, goesOn)
	l.add(group, "write to the text through them", func(p *guests.Probe) { remap(p, 0); p.Do(p.Store8(n(text), n(0x90))) }, translation)
	for _, g := range []uint64{1, 3, 5, 0x3f, 0x3ff} {
		l.add(group, fmt.Sprintf("read physical GiB %d", g), func(p *guests.Probe) { remap(p, 0, g); p.Do(p.Load8(n(gib))) }, translation, shutdown)
		l.add(group, fmt.Sprintf("write physical GiB %d", g), func(p *guests.Probe) { remap(p, 0, g); p.Do(p.Store64(n(gib), n(1))) }, translation, shutdown)
	}
	l.add(group, "write its APIC", func(p *guests.Probe) { remap(p, 0, 3); p.Do(p.Store64(n(gib+0x3ee00300), n(0x4500))) }, translation, shutdown)
	l.add(group, "fill the system area", func(p *guests.Probe) { remap(p, 0, 4); execute(p, toucher(gib, gib+0x4000)) }, goesOn, translation, shutdown)
	l.add(group, "tables that are nowhere", func(p *guests.Probe) { execute(p, mov(rax, 0xfffff000), []byte{0x0f, 0x22, 0xd8}) },
		shutdown, translation, ended("KVM: internal error"))
	l.add(group, "tables in the text", func(p *guests.Probe) { execute(p, mov(rax, text), []byte{0x0f, 0x22, 0xd8}) },
		shutdown, translation, ended("KVM: internal error"))
	// KVM's paravirtual registers have it write to guest memory.
	for _, msr := range []uint64{0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x40000000, 0x40000001, 0x40000021, 0x40000073} {
		for _, at := range []uint64{text, rodata, memEnd - 8, memEnd, hvtPhys, hvtShim, 0xffffffffffff0000} {
			l.add("registers by which KVM writes", fmt.Sprintf("%#x to %#x", at|1, msr), func(p *guests.Probe) {
				execute(p, mov(rcx, msr), mov(rax, (at|1)&0xffffffff), mov(rdx, at>>32), []byte{0x0f, 0x30})
				p.Do(p.Load64(n(text)).Differs(n(0), 2))
			}, goesOn, shutdown, translation, ended("KVM: "))
		}
	}
	for name, code := range map[string][]byte{
		"no paging": slices.Concat([]byte{0x0f, 0x20, 0xc0}, []byte{0x0f, 0xba, 0xf0, 31, 0x0f, 0x22, 0xc0}), // btr eax, 31
		"no table":  slices.Concat(mov(rax, 0), []byte{0x50, 0x50, 0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b}),      // lidt of zeros; ud2
		"task":      slices.Concat(mov(rax, 0x20), []byte{0x50}, mov(rax, text), []byte{0x50, 0x48, 0xcb}),
		"vmcall":    {0x0f, 0x01, 0xc1}, "vmmcall": {0x0f, 0x01, 0xd9}, "rsm": {0x0f, 0xaa}, "hlt": {0xf4}, "cli, hlt": {0xfa, 0xf4},
		"int 0x80": {0xcd, 0x80}, "sysenter": {0x0f, 0x34}, "syscall": {0x0f, 0x05}, "sysret": {0x48, 0x0f, 0x07},
		"reset by 0xcf9": slices.Concat(mov(rdx, 0xcf9), mov(rax, 6), []byte{0xee}), "reset by 0x64": slices.Concat(mov(rax, 0xfe), []byte{0xe6, 0x64}),
	} {
		l.add("stopping the processor", name, func(p *guests.Probe) { execute(p, code) },
			shutdown, translation, goesOn, ended("halted without an exit status"), ended("port=0x"), ended("KVM: "))
	}
}
