package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"gocat/internal/raw"
)

// Sizes and values of ELF64 (System V ABI, chapters 4 and 5).
const (
	ehdrSize = 64
	phdrSize = 56

	etExec   = 2
	emX86_64 = 62

	ptLoad   = 1
	ptInterp = 3
	ptNote   = 4
	ptStack  = 0x6474e551 // PT_GNU_STACK
)

// maxPhdrs bounds e_phnum. Solo5's linker scripts produce 8 to 12.
const maxPhdrs = 64

// phdr is an Elf64_Phdr, without p_paddr.
type phdr struct {
	index                               int
	typ, flags                          uint32
	offset, vaddr, filesz, memsz, align uint64
}

// Parse reads the headers and notes of a unikernel image and checks them by
// the rules of Solo5's tenders. It reads at most some 20 KiB, and the last byte
// of each segment, to know that the file is whole.
//
// A PT_LOAD without size in memory, as Solo5's linker leaves one at address 0,
// is ignored. One without bytes in the file is kept, though Solo5's tenders
// since 0.9 ignore it: it is the guest's bss.
//
// Errors are one line, without the file's name.
func Parse(file io.ReaderAt) (*Image, error) {
	r := raw.New[headers]()
	r.r = file
	entry, phdrs, err := readHeaders(r)
	if err != nil {
		return nil, err
	}
	// Notes come first, as in Solo5's tenders: an image for another target is
	// told so whatever its segments are like.
	m := raw.New[Image]()
	m.Entry, m.Segments, m.sections = entry, raw.Slice[Segment](0, 8), r.sections
	if err := m.readNotes(r, phdrs, false); err != nil {
		return nil, err
	}
	for i := range phdrs {
		if phdrs[i].typ != ptLoad || phdrs[i].memsz == 0 && phdrs[i].filesz == 0 {
			continue
		}
		if err := m.addSegment(r, &phdrs[i]); err != nil {
			return nil, segmentErrorf(phdrs[i].index, "%w", err)
		}
	}
	if len(m.Segments) == 0 {
		return nil, invalidf("no segment to load")
	}
	if !m.within(entry, 1, X) {
		return nil, invalidf("entry %#x lies in no executable segment", entry)
	}
	if m.Fault != 0 && !m.within(m.Fault, 1, X) {
		return nil, invalidf("fault handler %#x lies in no executable segment", m.Fault)
	}
	if m.Timer != 0 && !m.within(m.Timer, TimerSize, W) {
		return nil, invalidf("timer words %#x lie in no writable segment", m.Timer)
	}
	if m.Signals != 0 && !m.within(m.Signals, SignalsSize, W) {
		return nil, invalidf("word of signals %#x lies in no writable segment", m.Signals)
	}
	if m.Ring != 0 && !m.within(m.Ring, RingWordSize, W) {
		return nil, invalidf("word for the network ring %#x lies in no writable segment", m.Ring)
	}
	if m.Ring != 0 && m.Target != HVT {
		return nil, invalidf("a network ring, which is for hvt, in an image for %v", m.Target)
	}
	if m.Generation != 0 && !m.within(m.Generation, GenerationSize, W) {
		return nil, invalidf("words of a generation %#x lie in no writable segment", m.Generation)
	}
	if m.Target == SPT && m.Timer|m.Signals != 0 && m.Fault == 0 {
		return nil, invalidf("a timer or signals without a fault handler, which is theirs too")
	}
	return m, nil
}

// ParseNotes reads what an image says of itself, whatever target it is for: of the
// Image that it returns, Target, Version and Manifest are set.
func ParseNotes(file io.ReaderAt) (*Image, error) {
	r := &headers{r: file}
	_, phdrs, err := readHeaders(r)
	if err != nil {
		return nil, err
	}
	m := new(Image)
	return m, m.readNotes(r, phdrs, true)
}

// within says whether n bytes at addr lie in a segment with protection p.
func (m *Image) within(addr, n uint64, p Prot) bool {
	for _, s := range m.Segments {
		if s.Prot&p != 0 && s.Start <= addr && addr < s.End && n <= s.End-addr {
			return true
		}
	}
	return false
}

// readHeaders reads the ELF header and the program headers.
func readHeaders(r *headers) (entry uint64, phdrs []phdr, err error) {
	le := binary.LittleEndian
	h, err := r.read(0, ehdrSize)
	if err != nil {
		return 0, nil, invalidf("ELF header: %w", err)
	}
	phoff, phnum := le.Uint64(h[32:]), le.Uint16(h[56:])
	switch {
	case string(h[:4]) != "\x7fELF":
		return 0, nil, invalidf("not an ELF file")
	case h[4] != 2:
		return 0, nil, invalidf("ELF class %d, expected 2 (64-bit)", h[4])
	case h[5] != 1:
		return 0, nil, invalidf("ELF data encoding %d, expected 1 (little endian)", h[5])
	case le.Uint32(h[20:]) != 1:
		return 0, nil, invalidf("ELF version %d, expected 1", le.Uint32(h[20:]))
	case le.Uint16(h[16:]) != etExec:
		return 0, nil, invalidf("ELF type %d, expected %d (ET_EXEC)", le.Uint16(h[16:]), etExec)
	case le.Uint16(h[18:]) != emX86_64:
		return 0, nil, invalidf("ELF machine %d, expected %d (EM_X86_64)", le.Uint16(h[18:]), emX86_64)
	case le.Uint16(h[52:]) != ehdrSize:
		return 0, nil, invalidf("ELF header size %d, expected %d", le.Uint16(h[52:]), ehdrSize)
	case le.Uint16(h[54:]) != phdrSize:
		return 0, nil, invalidf("program header size %d, expected %d", le.Uint16(h[54:]), phdrSize)
	case phnum < 1 || phnum > maxPhdrs:
		return 0, nil, invalidf("%d program headers, expected 1 to %d", phnum, maxPhdrs)
	}
	if le.Uint16(h[58:]) == shdrSize {
		r.sections = Range{le.Uint64(h[40:]), uint64(le.Uint16(h[60:])) * shdrSize}
	}
	b, err := r.read(phoff, int(phnum)*phdrSize)
	if err != nil {
		return 0, nil, invalidf("program headers: %w", err)
	}
	phdrs = raw.Slice[phdr](int(phnum), int(phnum))
	for i := range phdrs {
		p := b[i*phdrSize:][:phdrSize]
		phdrs[i] = phdr{
			index:  i,
			typ:    le.Uint32(p),
			flags:  le.Uint32(p[4:]),
			offset: le.Uint64(p[8:]),
			vaddr:  le.Uint64(p[16:]),
			filesz: le.Uint64(p[32:]),
			memsz:  le.Uint64(p[40:]),
			align:  le.Uint64(p[48:]),
		}
	}
	return le.Uint64(h[24:]), phdrs, nil
}

// addSegment checks p, a PT_LOAD, and appends it. Rounding is by p_align, not
// by the page, as in Solo5's tenders, which give the whole of the rounded range
// the segment's protection.
func (m *Image) addSegment(r *headers, p *phdr) error {
	if p.align == 0 || p.align&(p.align-1) != 0 {
		return fmt.Errorf("alignment %#x is not a power of two", p.align)
	}
	if p.filesz > p.memsz {
		return fmt.Errorf("size %#x in the file exceeds size %#x in memory", p.filesz, p.memsz)
	}
	start := p.vaddr &^ (p.align - 1)
	end := p.vaddr + p.memsz
	if end < p.vaddr || end > -p.align {
		return fmt.Errorf("address %#x plus size %#x, aligned to %#x, overflows", p.vaddr, p.memsz, p.align)
	}
	end = (end + p.align - 1) &^ (p.align - 1)
	if start < MinAddr {
		return fmt.Errorf("address %#x, aligned to %#x, is below %#x", p.vaddr, p.align, uint64(MinAddr))
	}
	if start%PageSize != 0 || end%PageSize != 0 {
		return fmt.Errorf("range %#x to %#x is not page-aligned: alignment %#x", start, end, p.align)
	}
	if start < m.End {
		last := m.Segments[len(m.Segments)-1]
		return fmt.Errorf("range %#x to %#x overlaps or precedes program header %d, %#x to %#x",
			start, end, last.Index, last.Start, last.End)
	}
	prot := Prot(p.flags) & (R | W | X)
	if prot&(W|X) == W|X {
		return fmt.Errorf("range %#x to %#x asks for %v: writable and executable", start, end, prot)
	}
	if p.filesz > 0 {
		last := p.offset + p.filesz - 1
		if last < p.offset {
			return fmt.Errorf("offset %#x plus size %#x overflows", p.offset, p.filesz)
		}
		if _, err := r.read(last, 1); err != nil {
			return fmt.Errorf("%#x bytes at offset %#x of the file: %w", p.filesz, p.offset, err)
		}
	}
	m.Segments = raw.Append(m.Segments, Segment{
		Index: p.index, Start: start, End: end, Vaddr: p.vaddr,
		Offset: p.offset, Filesz: p.filesz, Memsz: p.memsz, Prot: prot,
	})
	m.End = end
	return nil
}

var errTruncated = errors.New("the file is truncated")

// headers reads what Parse looks at, into one buffer that is large enough for
// most images: a tender's start-up time is mostly memory touched for the first
// time, and buffers of many sizes touch much.
type headers struct {
	r        io.ReaderAt
	room     []byte
	sections Range // where the file says that its section headers are
}

// read returns n bytes from offset off, which later reads leave alone.
func (h *headers) read(off uint64, n int) ([]byte, error) {
	if n > len(h.room) {
		h.room = raw.Slice[byte](max(n, 2048), max(n, 2048))
	}
	b := h.room[:n:n]
	h.room = h.room[n:]
	return b, readAt(h.r, b, off)
}

// readAt fills b from offset off of r.
func readAt(r io.ReaderAt, b []byte, off uint64) error {
	if off > math.MaxInt64-uint64(len(b)) {
		return fmt.Errorf("offset %#x: %w", off, errTruncated)
	}
	n, err := r.ReadAt(b, int64(off))
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errTruncated
	}
	return err
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("invalid executable: "+format, args...)
}

func segmentErrorf(index int, format string, args ...any) error {
	return fmt.Errorf("invalid executable: program header %d (PT_LOAD): "+format,
		append([]any{index}, args...)...)
}
