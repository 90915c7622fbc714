package image

import (
	"io"

	"gocat/internal/raw"
)

// Range is a part of a file, in bytes.
type Range struct{ Offset, Size uint64 }

// end is the offset just past r; ok is false if there is no such offset.
func (r Range) end() (end uint64, ok bool) { return r.Offset + r.Size, r.Offset+r.Size >= r.Offset }

// Tables are the parts of an image's file by which FunctionAt names functions.
type Tables struct {
	Symbols  Range // Elf64_Sym, of 24 bytes each
	Strings  Range // their names
	Sections Range // Elf64_Shdr, of 64 bytes each
}

// Bounds on Tables, in bytes. They are copied at each start of a guest, so they
// must not be much beside its segments, which are copied too.
const (
	maxTables        = 16 << 20 // at most that in all,
	smallTables      = 256 << 10
	tablesShare      = 4 // and not more than smallTables or that part of the segments
	maxTableSections = 256
)

// Tables finds the symbols of the image in its file, all of which are there. ok is
// false if it has none, if they are malformed, or more than can be taken along.
func (m *Image) Tables(file io.ReaderAt) (t Tables, ok bool) {
	n := m.sections.Size
	if n == 0 || n > maxTableSections*shdrSize {
		return t, false
	}
	b := raw.Slice[byte](int(n), int(n))
	if readAt(file, b, m.sections.Offset) != nil {
		return t, false
	}
	s := sections{b, 0, int(n / shdrSize)}
	for i := range s.n {
		symtab := s.section(i)
		if symtab.typ != shtSymtab {
			continue
		}
		if uint64(symtab.link) >= uint64(s.n) {
			return t, false
		}
		strtab := s.section(int(symtab.link))
		t = Tables{Range{symtab.offset, symtab.size}, Range{strtab.offset, strtab.size}, m.sections}
		ok = strtab.typ == shtStrtab && m.whole(file, t.Symbols) && m.whole(file, t.Strings)
		return t, ok && t.Symbols.Size+t.Strings.Size+n <= m.tablesLimit()
	}
	return t, false
}

func (m *Image) tablesLimit() uint64 {
	segments := uint64(0)
	for i := range m.Segments {
		segments += min(m.Segments[i].Filesz, tablesShare*maxTables)
	}
	return min(max(smallTables, segments/tablesShare), maxTables)
}

// whole reports whether the file has r, which is not empty nor too large. What lies
// before the section headers, which have been read, is there.
func (m *Image) whole(file io.ReaderAt, r Range) bool {
	end, ok := r.end()
	if !ok || r.Size == 0 || r.Size > maxTables {
		return false
	}
	if end <= m.sections.Offset {
		return true
	}
	last := raw.Slice[byte](1, 1)
	return readAt(file, last, end-1) == nil
}
