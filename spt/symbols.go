package spt

import (
	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// symbols are the tables by which the fault reporter names the guest's functions.
// They come from the image, if it has some, and lie a page past the end of guest
// memory. The guest can only read them.
type symbols struct {
	parts []plan.Part
	// What the reporter is told, at symbolsAt: the addresses of the symbol table and
	// of its end, the address of the names and their size in bytes, the address of
	// the section headers and their number.
	words [6]uint64
	end   uint64 // guest address past their end; 0 if there are none
}

// findSymbols has the tables mapped into the guest.
func (s *sealed) findSymbols() {
	t, ok := s.Image.Tables(s.File)
	if !ok {
		return
	}
	y := &s.symbols
	y.parts, y.end = raw.Slice[plan.Part](0, 3), plan.Pages(s.Memory)+image.PageSize
	names := y.add(s, t.Symbols)
	y.words[0], y.words[1] = names, names+t.Symbols.Size
	y.words[2], y.words[3] = y.add(s, t.Strings), t.Strings.Size
	y.words[4], y.words[5] = y.add(s, t.Sections), t.Sections.Size/image.SectionSize
}

// add maps a part of the image's file and returns its guest address.
func (y *symbols) add(s *sealed, r image.Range) uint64 {
	at := y.end
	c := raw.New[plan.Contents]()
	*c = plan.Contents{File: s.File, Offset: r.Offset, Size: r.Size, Addr: at}
	y.parts = append(y.parts, plan.Part{Addr: at, Prot: plan.Read, Copy: c})
	y.end = at + plan.Pages(r.Size)
	return at
}
