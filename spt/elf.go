package spt

import (
	"encoding/binary"
	"fmt"
	"io"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// Sizes and constants of the ELF64 format (elf(5)).
const (
	ehdrSize = 64
	phdrSize = 56

	ptLoad     = 1
	ptGNUStack = 0x6474e551
)

// zeroPage fills up pages.
var zeroPage [image.PageSize]byte

// gather collects what is to be written, so that it takes one system call.
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
func (g *gather) pad(n uint64) { *g = raw.Append(*g, zeroPage[:pages(n)-n]) }

// output writes all of the given pieces.
type output func([][]byte) error

// flush writes what was collected.
func (g *gather) flush(out output) error {
	all := *g
	*g = all[:0]
	return out(all)
}

// copy adds a segment's contents, writing large ones piece by piece.
func (g *gather) copy(out output, file io.ReaderAt, seg *image.Segment) error {
	size := int(min(seg.Filesz, 64<<10))
	buf := raw.Slice[byte](size, size)
	for done := uint64(0); done < seg.Filesz; {
		if done > 0 {
			if err := g.flush(out); err != nil {
				return err
			}
		}
		piece := buf[:min(uint64(len(buf)), seg.Filesz-done)]
		n, err := file.ReadAt(piece, int64(seg.Offset+done))
		if n < len(piece) {
			return fmt.Errorf("segment %d: could not read byte %d of %d: %w", seg.Index, done+uint64(n), seg.Filesz, err)
		}
		*g = raw.Append(*g, piece)
		done += uint64(n)
	}
	return nil
}

// write writes the executable: ELF and program headers, then each part on pages
// of its own. All sizes in memory and in the file are equal and whole pages, so
// no kernel's treatment of bss matters.
func (s *sealed) write(out output) error {
	count := len(s.parts) + 1
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
	offset := pages(uint64(ehdrSize + phdrSize*count))
	half(2, 62) // ET_EXEC, EM_X86_64
	word(1)
	long(s.entry, ehdrSize, 0)
	word(0)
	half(ehdrSize, phdrSize, uint16(count), 0, 0, 0)
	for i := range s.parts {
		p := &s.parts[i]
		word(ptLoad, uint32(p.prot))
		long(offset, p.addr, p.addr, p.size(), p.size(), image.PageSize)
		offset += p.size()
	}
	word(ptGNUStack, uint32(image.R|image.W))
	long(0, 0, 0, 0, 0, 16)

	all := gather(raw.Slice[[]byte](0, 8*len(s.parts)))
	all.add(header)
	for i := range s.parts {
		p := &s.parts[i]
		if p.seg == nil {
			all.add(p.data...)
			continue
		}
		all = raw.Append(all, zeroPage[:p.seg.Vaddr%image.PageSize])
		if err := all.copy(out, s.File, p.seg); err != nil {
			return err
		}
		all.pad(p.seg.Vaddr + p.seg.Filesz)
	}
	return all.flush(out)
}
