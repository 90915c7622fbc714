package spt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// noFile is what sealed.file is where segments are a part of the executable.
const noFile = -1

// direct returns the descriptor that the guest's process may read its segments from,
// or noFile. An image of some size is copied once that way, into memory that can be
// huge pages; as a part of the executable it is copied into a file in memory, whose
// pages are then mapped one by one.
func direct(c *Config) int {
	f, ok := c.File.(*raw.File)
	if !ok || c.Warm != nil || c.ExecHeap {
		return noFile
	}
	if start, end := c.Image.Filled(0); start == end || !execGain() {
		return noFile
	}
	return f.FD
}

// execGain reports whether memory that was written may be made executable, which
// PR_SET_MDWE, a filter or a security module may forbid. It is never both.
func execGain() bool {
	b, err := raw.Mmap(-1, image.PageSize, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return false
	}
	err = raw.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	raw.Munmap(b)
	return err == nil
}

// loaded is the region of all segments, which load maps and fills.
func (s *sealed) loaded() region {
	return region{start: s.Image.Segments[0].Start, end: s.Image.End}
}

// load plans that the segments are read from the image's file, before inherit has it
// closed with whatever else is not the guest's.
func (s *sealed) load(p *plan.Plan) {
	if s.file == noFile {
		return
	}
	all := s.loaded()
	s.zero(p, all.start, all.end, image.R|image.W)
	for start, end := s.Image.Filled(0); start < end; start, end = s.Image.Filled(end) {
		from := max(start, all.start)
		p.Try(unix.SYS_MADVISE, from, min(end, all.end)-from, unix.MADV_HUGEPAGE)
	}
	for i := range s.Image.Segments {
		seg := &s.Image.Segments[i]
		number := raw.Decimal(uint64(seg.Index))
		if seg.Filesz > 0 {
			p.Must(raw.Concat("segment ", number, ": could not read all of its ", raw.Decimal(seg.Filesz), " bytes"),
				1, plan.Fill, s.file, seg.Vaddr, seg.Filesz, seg.Offset)
		}
		if prot := seg.Prot; prot != image.R|image.W {
			p.Must(raw.Concat("segment ", number, ": could not protect its memory"), 0,
				unix.SYS_MPROTECT, seg.Start, seg.End-seg.Start, protection(prot))
		}
	}
}
