// Package symbols finds function, file and line for addresses of a guest's
// code, from its image's own tables.
package symbols

import (
	"bytes"
	"debug/dwarf"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// Place is where an address is.
type Place struct {
	Function string // printable
	Offset   uint64 // of the address in it, in bytes
	File     string // "" where it is not known
	Line     int
}

// String returns the place as NAME+0xOFFSET FILE:LINE.
func (p Place) String() string {
	s := p.Function + "+0x" + strconv.FormatUint(p.Offset, 16)
	if p.File != "" {
		s += " " + p.File + ":" + strconv.Itoa(p.Line)
	}
	return s
}

// Table names the addresses of one image.
type Table struct {
	file  []byte // whose symbol table it is
	code  []span // what can be executed
	lines *dwarf.Data
	units map[dwarf.Offset]*dwarf.LineReader
	gos   *goTable
}

// span is a range of guest addresses.
type span struct{ start, end uint64 }

// maxFile bounds an image, and what its debugging information becomes when it is
// unpacked, in bytes.
const maxFile = 1 << 30

// ErrNone says that an image has nothing by which its addresses could be named.
var ErrNone = errors.New("it has neither symbols nor Go's table of functions: give the image as it was before strip or gocat seal")

// Open reads the image at path, which may be any ELF program: the linked one, from
// before an image was made of it, has the same addresses.
func Open(path string) (*Table, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s: not a regular file", path))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("larger than %d MB", maxFile>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t, err := New(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// New makes a table of an image's contents.
func New(file []byte) (t *Table, err error) {
	defer func() { // the packages of debug do not promise to stand hostile files
		if r := recover(); r != nil {
			t, err = nil, fmt.Errorf("malformed: %v", r)
		}
	}()
	e, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("not an ELF file: %w", err)
	}
	t = &Table{file: file, units: map[dwarf.Offset]*dwarf.LineReader{}}
	for _, p := range e.Progs {
		if end := p.Vaddr + p.Memsz; p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && end > p.Vaddr {
			t.code = append(t.code, span{p.Vaddr, end})
		}
	}
	named := false
	size := uint64(0)
	for _, s := range e.Sections {
		named = named || s.Type == elf.SHT_SYMTAB
		if strings.HasPrefix(s.Name, ".zdebug_") {
			s.Open() // sets Size to what it becomes
		}
		if strings.HasPrefix(s.Name, ".debug_") || strings.HasPrefix(s.Name, ".zdebug_") {
			size = min(maxFile+1, size+min(maxFile+1, s.Size))
		}
	}
	if size > 0 && size <= maxFile {
		t.lines, _ = e.DWARF() // without it there are no lines
	}
	t.gos = findGo(e, uint64(len(file)))
	if !named && t.gos == nil {
		return nil, ErrNone
	}
	return t, nil
}

// At returns where addr is. ok is false of an address that is not in the image's
// code, or in none of its functions.
func (t *Table) At(addr uint64) (p Place, ok bool) {
	inside := false
	for _, s := range t.code {
		inside = inside || addr >= s.start && addr < s.end
	}
	if !inside {
		return p, false
	}
	defer func() {
		if recover() != nil {
			ok = p.Function != ""
		}
	}()
	if name, offset := image.FunctionAt(t.file, addr); name != nil {
		p.Function, p.Offset = string(name), offset
	}
	if t.gos != nil {
		g := t.gos.at(addr)
		if p.Function == "" {
			p = g
		} else if g.File != "" {
			p.File, p.Line = g.File, g.Line
		}
	}
	if p.Function == "" {
		return p, false
	}
	if p.File == "" {
		p.File, p.Line = t.line(addr)
	}
	return p, true
}

// line returns the line of an address, as a compiler of C tells of it.
func (t *Table) line(addr uint64) (file string, line int) {
	if t.lines == nil {
		return "", 0
	}
	unit, err := t.lines.Reader().SeekPC(addr)
	if err != nil {
		return "", 0
	}
	r, known := t.units[unit.Offset]
	if !known {
		r, _ = t.lines.LineReader(unit)
		t.units[unit.Offset] = r
	}
	var e dwarf.LineEntry
	if r == nil || r.SeekPC(addr, &e) != nil || e.File == nil || !printable(e.File.Name) {
		return "", 0
	}
	return e.File.Name, e.Line
}

// printable reports whether s may be shown on a terminal.
func printable(s string) bool {
	return s != "" && len(s) <= maxName && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd }) < 0
}

// maxName is the length in bytes of the longest name that is shown.
const maxName = 4096
