package kvmhvt

import (
	"encoding/binary"

	"gocat/internal/image"
)

// The system area holds what the processor reads and the guest must not: it
// follows the guest's memory, layout.total bytes. Its first pages are mapped
// for privilege level 0 at systemLinear, an address that no guest uses; the
// page tables after them are not mapped anywhere.
const (
	systemLinear = 0x7f_c000_0000 // the last GiB that one page directory pointer table maps

	tablesPage  = 0 // GDT, IDT and the gates' code: read and execute
	tssPage     = 1 // read
	stackPage   = 2 // privilege level 0's stack: read and write
	mappedPages = 3
	pml4Page    = 3
	pdptPage    = 4
	sysPDPage   = 5 // page directory of systemLinear
	sysPTPage   = 6
	pdPage      = 7                      // page directories of guest memory, one a GiB
	ptPage      = pdPage + maxMemory>>30 // page tables of guest memory
)

// Bits of a page table entry (Intel SDM vol. 3, 4.5).
const (
	pteP  = 1 << 0
	pteW  = 1 << 1
	pteU  = 1 << 2
	pteA  = 1 << 5
	pteD  = 1 << 6
	ptePS = 1 << 7
	pteNX = 1 << 63

	pteTable = pteP | pteW | pteU // entries of the upper levels restrict nothing
)

// systemSize is the size of the system area in bytes: a page table for each
// 2 MiB of guest memory in which the protection changes.
func (l *layout) systemSize() uint64 {
	n, cursor := 0, 0
	for addr := uint64(0); addr < l.total; addr += blockSize {
		if _, uniform := l.block(&cursor, addr); !uniform {
			n++
		}
	}
	return uint64(ptPage+n) * image.PageSize
}

// block says whether the 2 MiB at addr have one protection, and which. cursor
// is the index of a region that does not lie past addr, and is advanced.
func (l *layout) block(cursor *int, addr uint64) (image.Prot, bool) {
	for l.regions[*cursor].end <= addr {
		*cursor++
	}
	r := l.regions[*cursor]
	return r.prot, r.end >= addr+blockSize
}

// pageTables writes the tables for guest memory into sys, of systemSize bytes:
// an identity mapping in 4 KiB pages where the protection changes and in 2 MiB
// pages elsewhere. At privilege level 0 (cpl 0) everything from minBase up can
// be written and executed, as Solo5's tender has it.
func (l *layout) pageTables(sys []byte, cpl int) {
	put := func(page, index int, entry uint64) {
		binary.LittleEndian.PutUint64(sys[page*image.PageSize+8*index:], entry)
	}
	table := func(page int) uint64 { return l.total + uint64(page)*image.PageSize | pteTable }
	put(pml4Page, 0, table(pdptPage))
	for i := range int((l.total + 1<<30 - 1) >> 30) {
		put(pdptPage, i, table(pdPage+i))
	}
	l.systemTables(put, table)

	pt, cursor := ptPage, 0
	for addr := uint64(0); addr < l.total; addr += blockSize {
		pd, index := pdPage+int(addr>>30), int(addr>>21)&511
		if prot, uniform := l.block(&cursor, addr); uniform {
			if e := entry(addr, prot, cpl); e != 0 {
				put(pd, index, e|ptePS)
			}
			continue
		}
		put(pd, index, table(pt))
		at := cursor
		for page := addr; page < addr+blockSize; page += image.PageSize {
			for l.regions[at].end <= page {
				at++
			}
			put(pt, int(page>>12)&511, entry(page, l.regions[at].prot, cpl))
		}
		pt++
	}
}

// systemTables maps the first pages of the system area at systemLinear.
func (l *layout) systemTables(put func(page, index int, entry uint64), table func(int) uint64) {
	put(pdptPage, systemLinear>>30, table(sysPDPage))
	put(sysPDPage, 0, table(sysPTPage))
	base := l.total | pteP | pteA
	put(sysPTPage, tablesPage, base+tablesPage*image.PageSize)
	put(sysPTPage, tssPage, base+tssPage*image.PageSize|pteNX)
	put(sysPTPage, stackPage, base+stackPage*image.PageSize|pteW|pteD|pteNX)
}

// entry is the last-level entry of a page: no access is not present. Accessed
// and dirty are set, so that the processor never writes to the tables.
func entry(addr uint64, prot image.Prot, cpl int) uint64 {
	if prot == 0 {
		return 0
	}
	if cpl == 0 {
		if addr < minBase {
			return addr | pteP | pteA
		}
		return addr | pteP | pteW | pteA | pteD
	}
	e := addr | pteP | pteU | pteA
	if prot&image.W != 0 {
		e |= pteW | pteD
	}
	if prot&image.X == 0 {
		e |= pteNX
	}
	return e
}
