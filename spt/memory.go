package spt

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// region is a range of guest memory with contents or a protection of its own.
type region struct {
	start, end uint64
	prot       image.Prot
	zero       bool // zeroed pages; else they come from the executable
}

// regions returns the regions of guest memory, the plan's room among them, in
// order of address.
func (s *sealed) regions() []region {
	all := raw.Append(raw.Slice[region](0, 32), region{planBase, planBase + planRoom, 0, false})
	for _, p := range s.parts {
		all = raw.Append(all, region{p.addr, p.addr + p.size(), p.prot, false})
	}
	for _, seg := range s.Image.Segments {
		file := seg.Start
		if seg.Filesz > 0 {
			if first := seg.Vaddr &^ (image.PageSize - 1); file < first {
				all = raw.Append(all, region{file, first, seg.Prot, true})
			}
			file = pages(seg.Vaddr + seg.Filesz)
		}
		if file < seg.End {
			all = raw.Append(all, region{file, seg.End, seg.Prot, true})
		}
	}
	slices.SortFunc(all, func(a, b region) int { return cmp.Compare(a.start, b.start) })
	return all
}

// memory plans the guest's address space: unmaps all that is not in guest
// memory, the stack and the vdso among it, and maps zeroed pages wherever guest
// memory does not come from the executable.
func (s *sealed) memory(p *plan) {
	// Linux 6.12 and later seal page zero where the personality asks for it.
	p.must("could not unmap page zero, which personality MMAP_PAGE_ZERO asks for", 0, unix.SYS_MUNMAP, 0, memBase)
	// A kernel that seals its own mappings refuses to unmap a range with the vdso
	// in it, and unmaps nothing of it.
	p.unless(exact, 0, func() {
		p.must("could not unmap the tender's memory", 0, nrAround, s.Memory)
	}, unix.SYS_MUNMAP, s.Memory, taskEnd-s.Memory)

	heap := image.R | image.W
	if s.ExecHeap {
		heap |= image.X
	}
	at := uint64(memBase)
	for _, r := range s.regions() {
		if at < r.start {
			s.zero(p, at, r.start, heap)
		}
		if r.zero {
			s.zero(p, r.start, r.end, r.prot)
		}
		at = r.end
	}
	if at < s.Memory {
		s.zero(p, at, s.Memory, heap)
	}
}

// zero plans zeroed pages in [start, end).
func (s *sealed) zero(p *plan, start, end uint64, prot image.Prot) {
	p.must(raw.Concat("could not map ", raw.Decimal(s.Memory>>20), " MB of guest memory"), start,
		unix.SYS_MMAP, start, end-start, protection(prot),
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED|unix.MAP_NORESERVE, exact, 0)
}

// protection converts a segment's protection to mmap's.
func protection(p image.Prot) int {
	prot := 0
	if p&image.R != 0 {
		prot |= unix.PROT_READ
	}
	if p&image.W != 0 {
		prot |= unix.PROT_WRITE
	}
	if p&image.X != 0 {
		prot |= unix.PROT_EXEC
	}
	return prot
}
