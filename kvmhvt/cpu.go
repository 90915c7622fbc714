package kvmhvt

import (
	"encoding/binary"

	"gocat/internal/image"
)

// Control register and flag bits (Intel SDM vol. 3, 2.3 and 2.5).
const (
	cr0PE = 1 << 0
	cr0NE = 1 << 5
	cr0WP = 1 << 16
	cr0PG = 1 << 31

	cr4PAE        = 1 << 5
	cr4OSFXSR     = 1 << 9
	cr4OSXMMEXCPT = 1 << 10

	eferLME = 1 << 8
	eferLMA = 1 << 10
	eferNXE = 1 << 11

	flagFixed = 1 << 1 // always set
	flagTF    = 1 << 8
	flagIF    = 1 << 9
	flagIOPL3 = 3 << 12
	flagNT    = 1 << 14
	flagRF    = 1 << 16
	flagAC    = 1 << 18
)

const (
	cr0Init = cr0PE | cr0NE | cr0WP | cr0PG
	cr4Init = cr4PAE | cr4OSFXSR | cr4OSXMMEXCPT
)

// Selectors. Solo5's bindings load a GDT of their own, with code at 8 and data
// at 16, which at privilege level 3 never takes effect. User data is therefore
// at 16 here too: then their loads of ds and es need no emulation.
const (
	selKernelCode = 1 << 3
	selUserData   = 2<<3 | 3
	selUserCode   = 3<<3 | 3
	selTSS        = 4 << 3 // two entries
	gdtEntries    = 6
)

// Offsets in the system area's page tablesPage and counts.
const (
	gdtOffset  = 0
	idtOffset  = 0x100
	gateOffset = 0x400 // one HLT instruction a vector
	vectors    = 32    // exceptions; a software interrupt beyond is a #GP
)

// iomapOffset is where the I/O permission bitmap begins in the TSS, directly
// after its 104 bytes.
const iomapOffset = 104

// hlt is the instruction HLT. At privilege level 0 it leaves the virtual
// machine; the gates consist of nothing else.
const hlt = 0xf4

// systemTables writes the GDT, the IDT, its gates and the TSS of the shim into
// the system area.
func systemTables(sys []byte, cpl int) {
	le := binary.LittleEndian
	t := sys[tablesPage*image.PageSize:][:image.PageSize]
	tss := sys[tssPage*image.PageSize:][:image.PageSize]
	const tssBase = systemLinear + tssPage*image.PageSize

	gdt := t[gdtOffset:]
	le.PutUint64(gdt[selKernelCode:], 0x00af9b000000ffff)  // 64-bit, execute and read, accessed
	le.PutUint64(gdt[selUserData&^7:], 0x00cff3000000ffff) // level 3, read and write, accessed
	le.PutUint64(gdt[selUserCode&^7:], 0x00affb000000ffff) // level 3, 64-bit
	if cpl == 0 {
		le.PutUint64(gdt[selUserData&^7:], 0x00cf93000000ffff)
	}
	le.PutUint64(gdt[selTSS:], 0x00008b0000000000| // 64-bit TSS, busy
		tssBase&0xffffff<<16|tssBase>>24&0xff<<56|image.PageSize-1)
	le.PutUint64(gdt[selTSS+8:], tssBase>>32)

	for v := range vectors {
		t[gateOffset+v] = hlt
		addr := uint64(systemLinear + tablesPage*image.PageSize + gateOffset + v)
		dpl := uint64(0)
		if v == 3 || v == 4 { // INT3 and INTO are the guest's to use
			dpl = 3
		}
		gate := t[idtOffset+16*v:]
		le.PutUint64(gate, addr&0xffff|selKernelCode<<16|(0x8e|dpl<<5)<<40|addr>>16&0xffff<<48)
		le.PutUint64(gate[8:], addr>>32)
	}

	le.PutUint64(tss[4:], systemLinear+(stackPage+1)*image.PageSize) // rsp0
	le.PutUint16(tss[102:], iomapOffset)
	iomap := tss[iomapOffset:]
	for i := range iomap {
		iomap[i] = 0xff
	}
	// A 32-bit access to a port needs the bits of four. kvm_pvm looks at this
	// bitmap and not at IOPL; other hosts take IOPL 3, see userRegs.
	for port := portHypercall; port < portHypercall+hcMax+3; port++ {
		iomap[port/8] &^= 1 << (port % 8)
	}
	for port := portKick; port < portKick+4; port++ {
		iomap[port/8] &^= 1 << (port % 8)
	}
}

// segment registers, as they are after loading a descriptor.

func codeSegment(selector uint16, dpl uint8) segment {
	return segment{limit: 0xffffffff, selector: selector, typ: 11, present: 1, dpl: dpl, s: 1, l: 1, g: 1}
}

func dataSegment(selector uint16, dpl uint8) segment {
	return segment{limit: 0xffffffff, selector: selector, typ: 3, present: 1, dpl: dpl, db: 1, s: 1, g: 1}
}

// setCPU makes s the system registers of a guest's first instruction. s must
// come from KVM: what it says about interrupt controllers stays. system is the system
// area's physical address.
func (s *sregs) setCPU(cpl int, system uint64) {
	code, data := codeSegment(selKernelCode, 0), dataSegment(2<<3, 0)
	s.tr = segment{typ: 11, present: 1} // Solo5's own tender starts guests with an empty TSS
	s.efer = eferLME | eferLMA
	s.gdt = dtable{base: systemLinear + gdtOffset, limit: 3*8 - 1}
	s.idt = dtable{}
	if cpl == 3 {
		code, data = codeSegment(selUserCode, 3), dataSegment(selUserData, 3)
		s.tr = segment{
			base: systemLinear + tssPage*image.PageSize, limit: image.PageSize - 1,
			selector: selTSS, typ: 11, present: 1,
		}
		s.efer |= eferNXE
		s.gdt.limit = gdtEntries*8 - 1
		s.idt = dtable{base: systemLinear + idtOffset, limit: vectors*16 - 1}
	}
	s.cs, s.ss, s.ds, s.es, s.fs, s.gs = code, data, data, data, data, data
	s.ldt = segment{unusable: 1}
	s.cr0, s.cr2, s.cr4 = cr0Init, 0, cr4Init
	s.cr3 = system + pml4Page*image.PageSize
}

// startRegs are the general registers of a guest's first instruction: a stack
// at the top of its memory, aligned as after a call, and the boot info's
// address as the argument.
func startRegs(entry, size uint64, cpl int) regs {
	r := regs{rip: entry, rsp: size - 8, rdi: bootInfoAddr, rflags: flagFixed}
	if cpl == 3 {
		// With IOPL 3 ordinary hosts let the guest write to any port; those that
		// are no hypercall end it. See systemTables.
		r.rflags |= flagIOPL3
	}
	return r
}
