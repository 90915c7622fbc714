// Package core writes core files of guests that GDB and readelf read like those
// of processes.
package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gocat/internal/image"
	"gocat/internal/x86"
)

// Guest is a stopped guest.
type Guest struct {
	PID       int
	Name      string // of the unikernel
	Signal    int    // that ended it, 0 for none
	Registers *x86.Registers
	AVX       bool
	Regions   []Region // its memory, in order of address
	// Read reads memory from addr and returns how many bytes it could.
	Read func(addr uint64, b []byte) int
}

// Region is a range of guest memory, in whole pages.
type Region struct {
	Start, End uint64
	Prot       image.Prot
	// Touched reports whether the page at addr may have contents; nil: all may.
	Touched func(addr uint64) bool
}

// ErrTooLarge says that a core file would exceed the limit on its contents.
var ErrTooLarge = errors.New("the core file would be too large")

// maxSegments is less than what an ELF header counts (PN_XNUM).
const maxSegments = 60000

// Write writes a core file to w, which is empty, with at most max bytes of
// contents; 0 is without limit. Pages of zeros are left out of it, so on most
// file systems it takes no more room than what the guest has used.
func Write(w io.WriterAt, g *Guest, max int64) error {
	segments := g.segments()
	notes := g.notes()
	offset := int64(ehdrSize + phdrSize*(1+len(segments)))
	head := elfHeader(1 + len(segments))
	head = appendProgramHeader(head, programHeader{typ: ptNote, offset: uint64(offset), filesz: uint64(len(notes)), align: 4})
	at := pageUp(uint64(offset) + uint64(len(notes)))
	size := int64(len(notes)) + offset
	for _, s := range segments {
		p := programHeader{typ: ptLoad, flags: flags(s.Prot), vaddr: s.Start, memsz: s.End - s.Start, offset: at, align: image.PageSize}
		if s.contents {
			p.filesz = p.memsz
			at += p.memsz
			size += int64(p.memsz)
		}
		head = appendProgramHeader(head, p)
	}
	if max != 0 && size > max {
		return fmt.Errorf("%w: %d MB, at most %d MB are allowed", ErrTooLarge, (size+1<<20-1)>>20, max>>20)
	}
	if _, err := w.WriteAt(append(head, notes...), 0); err != nil {
		return err
	}
	at = pageUp(uint64(offset) + uint64(len(notes)))
	end := at
	for _, s := range segments {
		if s.contents {
			if err := g.copy(w, &s, int64(at)); err != nil {
				return err
			}
			at += s.End - s.Start
			end = at
		}
	}
	if t, ok := w.(interface{ Truncate(int64) error }); ok { // the last pages may be zeros
		return t.Truncate(int64(end))
	}
	return nil
}

// segment is a part of a region: all with contents, or all without.
type segment struct {
	Region
	contents bool
}

// segments divides the regions into parts that were touched and parts that were
// not.
func (g *Guest) segments() (all []segment) {
	for _, r := range g.Regions {
		first := len(all)
		for addr := r.Start; addr < r.End; addr += image.PageSize {
			contents := r.Touched == nil || r.Touched(addr)
			// A few pages without contents do not deserve a segment of their own.
			if n := len(all); n > first && (all[n-1].contents == contents || n >= maxSegments) {
				all[n-1].End = addr + image.PageSize
				all[n-1].contents = all[n-1].contents || contents
				continue
			}
			part := r
			part.Start, part.End = addr, addr+image.PageSize
			all = append(all, segment{part, contents})
		}
	}
	return all
}

// copySize is how much one copy moves, in bytes.
const copySize = 1 << 18

var zeros [image.PageSize]byte

// copy writes a segment at offset of w. Memory that cannot be read becomes
// zeros.
func (g *Guest) copy(w io.WriterAt, s *segment, offset int64) error {
	buf := make([]byte, copySize)
	for addr := s.Start; addr < s.End; {
		b := buf[:min(copySize, s.End-addr)]
		n := g.Read(addr, b)
		if n < len(b) {
			n = n &^ (image.PageSize - 1)
			if n == 0 {
				addr += image.PageSize
				continue
			}
			b = b[:n]
		}
		for from := 0; from < len(b); {
			to := from
			for to < len(b) && !bytes.Equal(b[to:to+image.PageSize], zeros[:]) {
				to += image.PageSize
			}
			if to > from {
				if _, err := w.WriteAt(b[from:to], offset+int64(addr-s.Start)+int64(from)); err != nil {
					return err
				}
			}
			from = to + image.PageSize
		}
		addr += uint64(len(b))
	}
	return nil
}

// Sizes and values of ELF (System V ABI, elf.h).
const (
	ehdrSize = 64
	phdrSize = 56
	ptLoad   = 1
	ptNote   = 4
	etCore   = 4
	emX86_64 = 62
)

func elfHeader(segments int) []byte {
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0} // 64 bits, little endian
	le := binary.LittleEndian
	b = le.AppendUint16(b, etCore)
	b = le.AppendUint16(b, emX86_64)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, 0)        // entry
	b = le.AppendUint64(b, ehdrSize) // program headers
	b = le.AppendUint64(b, 0)        // section headers
	b = le.AppendUint32(b, 0)
	b = le.AppendUint16(b, ehdrSize)
	b = le.AppendUint16(b, phdrSize)
	b = le.AppendUint16(b, uint16(segments))
	return append(b, 0, 0, 0, 0, 0, 0)
}

type programHeader struct {
	typ, flags                          uint32
	offset, vaddr, filesz, memsz, align uint64
}

func appendProgramHeader(b []byte, p programHeader) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, p.typ)
	b = le.AppendUint32(b, p.flags)
	for _, w := range []uint64{p.offset, p.vaddr, 0, p.filesz, p.memsz, p.align} {
		b = le.AppendUint64(b, w)
	}
	return b
}

// flags are those of a segment: PF_X 1, PF_W 2, PF_R 4.
func flags(p image.Prot) (f uint32) {
	for prot, flag := range map[image.Prot]uint32{image.R: 4, image.W: 2, image.X: 1} {
		if p&prot != 0 {
			f |= flag
		}
	}
	return f
}

func pageUp(n uint64) uint64 { return (n + image.PageSize - 1) &^ (image.PageSize - 1) }
