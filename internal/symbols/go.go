package symbols

import (
	"debug/elf"
	"debug/gosym"
	"encoding/binary"

	"gocat/internal/image"
)

// GoText is the guest address at which the code of Go programs begins in images
// that gocat build makes: a page after a multiple of 2 MiB, so that a small program
// lies in one huge page.
const GoText = 2<<20 + image.PageSize

// goTable is the table of functions that every Go program has (pclntab), for its
// own tracebacks.
type goTable struct{ table *gosym.Table }

// findGo finds the table in a program of size bytes, nil if it has none.
func findGo(e *elf.File, size uint64) *goTable {
	if s := e.Section(".gopclntab"); s != nil {
		if s.Size > maxFile { // compressed, it may become more than there is
			return nil
		}
		text := e.Section(".text")
		b, err := s.Data()
		if err != nil || text == nil {
			return nil
		}
		return newGo(b, text.Addr)
	}
	if len(e.Sections) > 0 {
		return nil
	}
	// Images that gocat build makes have no sections: it is in one of the segments.
	for _, p := range e.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_R == 0 || p.Filesz > size {
			continue
		}
		b := make([]byte, p.Filesz)
		if n, _ := p.ReadAt(b, 0); n < len(b) {
			continue
		}
		for at := -p.Vaddr & (goAlign - 1); at+goHeader <= uint64(len(b)); at += goAlign {
			if isGo(b[at:]) {
				if t := newGo(b[at:], GoText); t != nil {
					return t
				}
			}
		}
	}
	return nil
}

// The header of the table (runtime.pcHeader) since Go 1.20.
const (
	goMagic  = 0xfffffff1
	goAlign  = 8
	goHeader = 72 // bytes
)

// isGo reports whether b begins as the table does: instructions of one byte,
// addresses of eight, and offsets that lie in it.
func isGo(b []byte) bool {
	le := binary.LittleEndian
	if le.Uint32(b) != goMagic || b[4] != 0 || b[5] != 0 || b[6] != 1 || b[7] != 8 {
		return false
	}
	for at := 32; at < goHeader; at += 8 {
		if le.Uint64(b[at:]) > uint64(len(b)) {
			return false
		}
	}
	const entry = 8 // bytes of a function
	return le.Uint64(b[8:]) <= uint64(len(b))/entry
}

func newGo(b []byte, text uint64) *goTable {
	if len(b) < goHeader || !isGo(b) {
		return nil
	}
	t, err := gosym.NewTable(nil, gosym.NewLineTable(b, text))
	if err != nil || len(t.Funcs) == 0 {
		return nil
	}
	return &goTable{t}
}

// at returns the place of an address, zero if it is in no function.
func (g *goTable) at(addr uint64) (p Place) {
	file, line, fn := g.table.PCToLine(addr)
	if fn == nil || !printable(fn.Name) {
		return p
	}
	p = Place{Function: fn.Name, Offset: addr - fn.Entry}
	if printable(file) {
		p.File, p.Line = file, line
	}
	return p
}
