package spt

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"gocat/internal/image"
)

// Sizes and constants of the ELF64 format (elf(5)).
const (
	ehdrSize = 64
	phdrSize = 56

	ptLoad     = 1
	ptGNUStack = 0x6474e551
)

// write writes the executable: ELF and program headers, then each part on pages
// of its own. All sizes in memory and in the file are equal and whole pages, so
// no kernel's treatment of bss matters.
func (s *sealed) write(w io.Writer) error {
	header := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
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
	count := len(s.parts) + 1
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

	out := bufio.NewWriterSize(w, 64<<10)
	out.Write(header)
	if err := pad(out, uint64(len(header))); err != nil {
		return err
	}
	for i := range s.parts {
		if err := s.parts[i].write(out, s.File); err != nil {
			return err
		}
	}
	return out.Flush()
}

// write writes the part's pages.
func (p *part) write(out *bufio.Writer, file io.ReaderAt) error {
	if p.seg == nil {
		out.Write(p.data)
		return pad(out, uint64(len(p.data)))
	}
	lead := p.seg.Vaddr - p.seg.Start
	if err := zeros(out, lead); err != nil {
		return err
	}
	n, err := io.Copy(out, io.NewSectionReader(file, int64(p.seg.Offset), int64(p.seg.Filesz)))
	if err != nil {
		return fmt.Errorf("segment %d: %w", p.seg.Index, err)
	}
	if uint64(n) != p.seg.Filesz {
		return fmt.Errorf("segment %d: the image ends after %d of %d bytes: it was truncated while being read",
			p.seg.Index, n, p.seg.Filesz)
	}
	return pad(out, lead+p.seg.Filesz)
}

// pad fills up the page that n bytes end in.
func pad(out *bufio.Writer, n uint64) error { return zeros(out, pages(n)-n) }

func zeros(out *bufio.Writer, n uint64) error {
	var page [image.PageSize]byte
	for n > 0 {
		k := min(n, image.PageSize)
		if _, err := out.Write(page[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
