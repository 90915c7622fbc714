package plan

import (
	"encoding/binary"
	"fmt"
	"io"

	"gocat/internal/abi"
	"gocat/internal/raw"
)

// Sizes and constants of the ELF64 format (elf(5)).
const (
	ehdrSize = 64
	phdrSize = 56

	ptLoad     = 1
	ptNote     = 4
	ptGNUStack = 0x6474e551
)

// PageSize is the size of a page in bytes.
const PageSize = 4096

// Pages rounds n up to whole pages.
func Pages(n uint64) uint64 { return (n + PageSize - 1) &^ (PageSize - 1) }

// zeroPage fills up pages.
var zeroPage [PageSize]byte

// Zeros returns at most a page of zeros, not to be written to.
func Zeros(n int) []byte { return zeroPage[:min(n, PageSize)] }

// Protections of memory, as ELF's program headers have them (PF_R and so on).
const (
	Exec = 1 << iota
	Write
	Read
)

// Part is a range of memory that the kernel maps from the executable.
type Part struct {
	Addr uint64    // page-aligned
	Prot uint32    // Read, Write, Exec
	Data [][]byte  // its contents, or
	Copy *Contents // those of a file
}

// Contents is a range of a file that is copied into an executable.
type Contents struct {
	File         io.ReaderAt
	Offset, Size uint64 // bytes of the file
	Addr         uint64 // in memory; the page begins with zeros
	Number       int    // of the segment, for messages
}

// Pieces returns b as the contents of a part. Inlined in another package, it would
// make the compiler allocate b.
//
//go:noinline
func Pieces(b ...[]byte) [][]byte { return raw.Clone(b) }

// Size is the part's length in memory and in the file, in whole pages.
func (p *Part) Size() uint64 {
	if p.Copy != nil {
		return Pages(p.Copy.Addr+p.Copy.Size) - p.Addr
	}
	n := 0
	for _, b := range p.Data {
		n += len(b)
	}
	return Pages(uint64(n))
}

// Executable is a static ELF program of parts, in order of address.
type Executable struct {
	Entry uint64
	Parts []Part
	// Note is text about the executable for those who read it, nil for none. The
	// kernel does not load it.
	Note []byte
}

// noteName is that of gocat's own notes.
const noteName = "gocat\x00"

// note is the note as it lies in the file: an Elf64_Nhdr, the name and the text.
func (e *Executable) note() []byte {
	var b []byte
	for _, n := range []int{len(noteName), len(e.Note), abi.NoteSEL1} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	b = append(append(b, noteName...), 0, 0) // padded to 4 bytes
	b = append(b, e.Note...)
	return append(b, zeroPage[:-len(b)&3]...)
}

// gather collects the output, so that writing it takes one system call.
type gather [][]byte

// add adds b and zeros up to the next page.
func (g *gather) add(b ...[]byte) {
	n := uint64(0)
	for _, b := range b {
		*g = raw.Append(*g, b)
		n += uint64(len(b))
	}
	g.pad(n)
}

// pad adds zeros up to the end of the page that address or size n ends in.
func (g *gather) pad(n uint64) { *g = raw.Append(*g, zeroPage[:Pages(n)-n]) }

// Output writes all of the given pieces.
type Output func([][]byte) error

// flush writes what was collected.
func (g *gather) flush(out Output) error {
	all := *g
	*g = all[:0]
	return out(all)
}

// copy adds a segment's contents, writing large ones piece by piece.
func (g *gather) copy(out Output, c *Contents) error {
	size := int(min(c.Size, 64<<10))
	buf := raw.Slice[byte](size, size)
	for done := uint64(0); done < c.Size; {
		if done > 0 {
			if err := g.flush(out); err != nil {
				return err
			}
		}
		piece := buf[:min(uint64(len(buf)), c.Size-done)]
		n, err := c.File.ReadAt(piece, int64(c.Offset+done))
		if n < len(piece) {
			return fmt.Errorf("segment %d: could not read byte %d of %d: %w", c.Number, done+uint64(n), c.Size, err)
		}
		*g = raw.Append(*g, piece)
		done += uint64(n)
	}
	return nil
}

// count is the number of program headers.
func (e *Executable) count() int {
	n := len(e.Parts) + 1
	if e.Note != nil {
		n++
	}
	return n
}

// Size is that of the file in bytes.
func (e *Executable) Size() uint64 {
	n := Pages(uint64(ehdrSize + phdrSize*e.count()))
	for i := range e.Parts {
		n += e.Parts[i].Size()
	}
	if e.Note != nil {
		n += uint64(len(e.note()))
	}
	return n
}

// Write writes the executable: ELF and program headers, then each part on pages
// of its own. All sizes in memory and in the file are equal and whole pages, so
// no kernel's treatment of bss matters.
func (e *Executable) Write(out Output) error {
	count := e.count()
	var note []byte
	if e.Note != nil {
		note = e.note()
	}
	header := append(raw.Slice[byte](0, ehdrSize+phdrSize*count), 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	half := func(v ...uint16) {
		for _, v := range v {
			header = binary.LittleEndian.AppendUint16(header, v)
		}
	}
	word := func(v ...uint32) {
		for _, v := range v {
			header = binary.LittleEndian.AppendUint32(header, v)
		}
	}
	long := func(v ...uint64) {
		for _, v := range v {
			header = binary.LittleEndian.AppendUint64(header, v)
		}
	}
	offset := Pages(uint64(ehdrSize + phdrSize*count))
	half(2, 62) // ET_EXEC, EM_X86_64
	word(1)
	long(e.Entry, ehdrSize, 0)
	word(0)
	half(ehdrSize, phdrSize, uint16(count), 0, 0, 0)
	for i := range e.Parts {
		p := &e.Parts[i]
		word(ptLoad, p.Prot)
		long(offset, p.Addr, p.Addr, p.Size(), p.Size(), PageSize)
		offset += p.Size()
	}
	word(ptGNUStack, Read|Write)
	long(0, 0, 0, 0, 0, 16)
	if note != nil {
		word(ptNote, Read)
		long(offset, 0, 0, uint64(len(note)), 0, 4)
	}

	all := gather(raw.Slice[[]byte](0, 8*len(e.Parts)))
	all.add(header)
	for i := range e.Parts {
		p := &e.Parts[i]
		if p.Copy == nil {
			all.add(p.Data...)
			continue
		}
		all = raw.Append(all, zeroPage[:p.Copy.Addr%PageSize])
		if err := all.copy(out, p.Copy); err != nil {
			return err
		}
		all.pad(p.Copy.Addr + p.Copy.Size)
	}
	if note != nil {
		all = append(all, note)
	}
	return all.flush(out)
}
