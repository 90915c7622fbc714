package spt

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/plan"
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
func (s *sealed) regions(parts []plan.Part) []region {
	all := raw.Append(raw.Slice[region](0, 32), region{planBase, planBase + planRoom, 0, false})
	for _, p := range parts {
		all = raw.Append(all, region{p.Addr, p.Addr + p.Size(), image.Prot(p.Prot), false})
	}
	if s.file != noFile {
		all = raw.Append(all, s.loaded())
	}
	for i := range s.Image.Segments {
		seg := &s.Image.Segments[i]
		if s.file != noFile {
			break
		}
		if s.Warm != nil {
			all = rest(all, seg, parts)
			continue
		}
		file := seg.Start
		if seg.Filesz > 0 {
			if first := seg.Vaddr &^ (image.PageSize - 1); file < first {
				all = raw.Append(all, region{file, first, seg.Prot, true})
			}
			file = plan.Pages(seg.Vaddr + seg.Filesz)
		}
		if file < seg.End {
			all = raw.Append(all, region{file, seg.End, seg.Prot, true})
		}
	}
	slices.SortFunc(all, func(a, b region) int { return cmp.Compare(a.start, b.start) })
	return all
}

// memory plans the guest's address space: maps zeroed pages wherever guest memory
// does not come from the executable, and unmaps all that is not in it, the stack
// and the vdso among it. Between the two signal handlers get their stack.
func (s *sealed) memory(p *plan.Plan, parts []plan.Part) {
	heap := image.R | image.W
	if s.ExecHeap {
		heap |= image.X
	}
	at := uint64(memBase)
	for _, r := range s.regions(parts) {
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
	s.signalStack(p)
	// Linux 6.12 and later seal page zero where the personality asks for it.
	p.Must("could not unmap page zero, which personality MMAP_PAGE_ZERO asks for", 0, unix.SYS_MUNMAP, 0, memBase)
	end := s.Memory
	if s.symbols.end != 0 {
		p.Must("could not unmap the page behind guest memory", 0, unix.SYS_MUNMAP, end, image.PageSize)
		end = s.symbols.end
	}
	// A kernel that seals its own mappings refuses to unmap a range with the vdso
	// in it, and unmaps nothing of it.
	p.Unless(plan.Exact, 0, func() {
		p.Must("could not unmap the tender's memory", 0, plan.Around, end)
	}, unix.SYS_MUNMAP, end, taskEnd-end)
}

// zero plans zeroed pages in [start, end).
func (s *sealed) zero(p *plan.Plan, start, end uint64, prot image.Prot) {
	message := raw.Concat("could not map ", raw.Decimal(s.Memory>>20), " MB of guest memory")
	if s.LessMemory != "" {
		message = plan.Hint(message, s.LessMemory)
	}
	if prot&(image.W|image.X) == image.W|image.X {
		message = plan.Hint("could not map memory that is writable and executable",
			"a security module or PR_SET_MDWE may forbid it here")
	}
	p.Must(message, start,
		unix.SYS_MMAP, start, end-start, protection(prot),
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED|unix.MAP_NORESERVE, plan.Exact, 0)
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
