package kvmhvt

import (
	"fmt"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// region is a range of guest memory with one protection.
type region struct {
	start, end uint64 // page-aligned
	prot       image.Prot
}

// kept reports whether the host's mapping keeps the guest from writing r at
// privilege level 0.
func (r *region) kept() bool { return r.start >= minBase && r.prot&image.W == 0 }

// layout says what of guest memory is where. Its regions are ascending, do not
// overlap and cover everything from 0 to total.
type layout struct {
	size    uint64 // what the guest is told it has, in bytes
	total   uint64 // size and, above it, what the tender shares with the guest
	regions []region
}

// RoundMemory returns the guest memory that Solo5's tender gives for a size in
// bytes: the next lower multiple of 2 MiB, and at least that.
func RoundMemory(size uint64) uint64 {
	return max(size&^(blockSize-1), blockSize)
}

// newLayout lays out guest memory of size bytes for an image, and extra bytes
// above it. The guest may read and write memory between and after segments, low
// memory is read-only, and the lowest 64 KiB are not mapped.
func newLayout(img *image.Image, size, extra uint64) (*layout, error) {
	limit := uint64(maxMemory)
	if img.Version == 1 {
		limit = maxMemoryV1
	}
	switch {
	case size == 0 || size%blockSize != 0:
		return nil, fmt.Errorf("guest memory of %d bytes: give a multiple of 2 MB", size)
	case size > limit:
		return nil, fmt.Errorf("guest memory of %d MB: an hvt guest of ABI version %d has at most %d MB", size>>20, img.Version, limit>>20)
	}
	size, total := min(size, limit-extra), min(size+extra, limit)
	if total-size < extra || size < blockSize {
		return nil, fmt.Errorf("guest memory of %d MB is too small", size>>20)
	}
	if err := img.CheckMemory(size); err != nil {
		return nil, err
	}
	const rw = image.R | image.W
	l := raw.New[layout]()
	*l = layout{size: size, total: total, regions: raw.Slice[region](0, 2*len(img.Segments)+4)}
	l.add(0, lowStart, 0)
	l.add(lowStart, minBase, image.R)
	next := uint64(minBase)
	for _, s := range img.Segments {
		if s.Start < next || s.End <= s.Start || s.Start%image.PageSize != 0 || s.End%image.PageSize != 0 {
			return nil, fmt.Errorf("segment %d at %#x to %#x is out of order or not page-aligned", s.Index, s.Start, s.End)
		}
		l.add(next, s.Start, rw)
		l.add(s.Start, s.End, s.Prot|image.R) // x86-64 knows no page that is not readable
		next = s.End
	}
	l.add(next, total, rw)
	return l, nil
}

// add appends a region and merges it with the one before where it can.
func (l *layout) add(start, end uint64, prot image.Prot) {
	if start == end {
		return
	}
	if n := len(l.regions); n > 0 && l.regions[n-1].prot == prot {
		l.regions[n-1].end = end
		return
	}
	l.regions = raw.Append(l.regions, region{start, end, prot})
}

// mapped says whether the page tables have a page at a linear address, whoever
// may access it.
func (l *layout) mapped(addr uint64) bool {
	return addr >= lowStart && addr < l.total || addr >= systemLinear && addr < systemLinear+mappedPages*image.PageSize
}

// allows says whether the guest itself has the access prot to all n bytes at
// addr. No bytes are nowhere and always allowed, as long as addr is inside.
func (l *layout) allows(addr, n uint64, prot image.Prot) bool {
	if addr > l.size || n > l.size-addr {
		return false
	}
	end := addr + n
	i := 0 // the first region that does not end before addr
	for n := len(l.regions); i < n; {
		if mid := (i + n) / 2; l.regions[mid].end <= addr {
			i = mid + 1
		} else {
			n = mid
		}
	}
	for ; i < len(l.regions) && l.regions[i].start < end && n > 0; i++ {
		if l.regions[i].prot&prot != prot {
			return false
		}
	}
	return true
}
