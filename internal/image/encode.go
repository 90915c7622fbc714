package image

import (
	"encoding/binary"
	"fmt"
	"strings"

	"gocat/internal/abi"
	"gocat/internal/raw"
)

// Spec describes an image to be written by Encode.
type Spec struct {
	Target   Target
	Version  uint32 // ABI version
	Entry    uint64 // guest address
	Segments []SpecSegment
	Manifest Manifest // names and types only; empty means the reserved entry alone
	Fault    uint64   // guest address of a fault handler, 0 for none
	Timer    uint64   // guest address of what a timer shares, 0 for none
	Signals  uint64   // guest address of the word of signals, 0 for none
	Ring     uint64   // guest address of the word for the network ring's address, 0 for none

	Generation uint64 // guest address of what tells clones apart, 0 for none
}

// SpecSegment is a PT_LOAD of a Spec.
type SpecSegment struct {
	Vaddr uint64 // guest address of Data[0]
	// Data is the segment's content in the file. Solo5's tenders since 0.9
	// ignore a segment without any, so they map a bss of its own only if it has
	// one byte here.
	Data  []byte
	Memsz uint64 // bytes in memory; 0 means len(Data)
	Prot  Prot
}

// interp keeps hosts from executing an image (Solo5 DECLARE_ELF_INTERP).
const interp = "/nonexistent/solo5/"

// maxImage bounds what Encode writes, in bytes.
const maxImage = 1 << 31

// smallImage is room in bytes for the bundled guests; what is larger moves.
// It is more than the headers of any image take.
const smallImage = 16 << 10

// Encode writes an image that Parse and Solo5's own tenders read: an ELF header,
// the program headers, PT_INTERP, the notes and the segments, each at an
// offset congruent to its address modulo the page. It has no sections. Equal
// specs give equal bytes.
//
// Encode refuses what cannot be expressed or is evidently a mistake. It leaves
// the rules of the ABI (addresses, overlap, protection, entry, target, version)
// to Parse, so that tests can write images that break them.
func Encode(s Spec) ([]byte, error) {
	mft := s.Manifest
	if len(mft) == 0 {
		mft = raw.Slice[Entry](1, 1)
		mft[0].Type = Reserved
	}
	declared := Manifest(raw.Slice[Entry](len(mft), len(mft))) // without what a tender fills in
	for i, e := range mft {
		if len(e.Name) > MaxName || strings.IndexByte(e.Name, 0) >= 0 {
			return nil, fmt.Errorf("encode image: manifest entry %d: name %q is longer than %d bytes or has a NUL",
				i, e.Name, MaxName)
		}
		declared[i] = Entry{Name: e.Name, Type: e.Type}
	}
	if len(mft) > MaxEntries {
		return nil, fmt.Errorf("encode image: %d manifest entries, at most %d", len(mft), MaxEntries)
	}
	// Beside the segments: PT_INTERP, two to seven PT_NOTE, PT_GNU_STACK.
	phnum := len(s.Segments) + 4
	for _, addr := range [...]uint64{s.Fault, s.Timer, s.Signals, s.Ring, s.Generation} {
		if addr != 0 {
			phnum++
		}
	}
	if len(s.Segments) == 0 || phnum > maxPhdrs {
		return nil, fmt.Errorf("encode image: %d segments, expected 1 to %d", len(s.Segments), maxPhdrs-phnum+len(s.Segments))
	}

	w := writer{b: raw.Slice[byte](ehdrSize+phnum*phdrSize, smallImage), next: ehdrSize}
	w.elfHeader(s.Entry, phnum)
	w.add(phdr{typ: ptInterp, flags: uint32(R), align: 1}, raw.CString(interp))
	w.add(phdr{typ: ptNote, flags: uint32(R), align: 4}, abiNote(s.Target, s.Version))
	w.add(phdr{typ: ptNote, flags: uint32(R), align: 4}, manifestNote(declared))
	w.ownNote(abi.NoteFLT1, s.Fault)
	w.ownNote(abi.NoteTMR1, s.Timer)
	w.ownNote(abi.NoteSIG1, s.Signals)
	w.ownNote(abi.NoteRNG1, s.Ring)
	w.ownNote(abi.NoteGEN1, s.Generation)
	for i, g := range s.Segments {
		memsz := g.Memsz
		if memsz == 0 {
			memsz = uint64(len(g.Data))
		}
		if memsz == 0 || memsz < uint64(len(g.Data)) {
			return nil, fmt.Errorf("encode image: segment %d: %d bytes of data, %d in memory", i, len(g.Data), memsz)
		}
		if len(w.b)+len(g.Data) > maxImage {
			return nil, fmt.Errorf("encode image: segment %d: the file would exceed %d bytes", i, maxImage)
		}
		w.add(phdr{
			typ: ptLoad, flags: uint32(g.Prot), vaddr: g.Vaddr, memsz: memsz, align: PageSize,
		}, g.Data)
	}
	w.header(phdr{typ: ptStack, flags: uint32(R | W), align: 16})
	return w.b, nil
}

// zeros fills up to a segment's alignment, at most a page.
var zeros [PageSize]byte

// writer builds an ELF file.
type writer struct {
	b    []byte
	next int // offset of the next program header
}

func (w *writer) elfHeader(entry uint64, phnum int) {
	le := binary.LittleEndian
	copy(w.b, "\x7fELF\x02\x01\x01")
	le.PutUint16(w.b[16:], etExec)
	le.PutUint16(w.b[18:], emX86_64)
	le.PutUint32(w.b[20:], 1)
	le.PutUint64(w.b[24:], entry)
	le.PutUint64(w.b[32:], ehdrSize)
	le.PutUint16(w.b[52:], ehdrSize)
	le.PutUint16(w.b[54:], phdrSize)
	le.PutUint16(w.b[56:], uint16(phnum))
}

// add appends data at an offset congruent to p.vaddr modulo p.align and writes
// p with that offset and size.
func (w *writer) add(p phdr, data []byte) {
	p.filesz = uint64(len(data))
	p.memsz = max(p.memsz, p.filesz)
	if p.filesz > 0 {
		pad := (p.vaddr - uint64(len(w.b))) & (p.align - 1)
		w.b = raw.Append(w.b, zeros[:pad]...)
		p.offset = uint64(len(w.b))
		w.b = raw.Append(w.b, data...)
	}
	w.header(p)
}

func (w *writer) header(p phdr) {
	le := binary.LittleEndian
	b := w.b[w.next:][:phdrSize]
	le.PutUint32(b, p.typ)
	le.PutUint32(b[4:], p.flags)
	le.PutUint64(b[8:], p.offset)
	le.PutUint64(b[16:], p.vaddr)
	le.PutUint64(b[24:], p.vaddr)
	le.PutUint64(b[32:], p.filesz)
	le.PutUint64(b[40:], p.memsz)
	le.PutUint64(b[48:], p.align)
	w.next += phdrSize
}

// ownNote adds a note of gocat's own with an address, unless that is 0.
func (w *writer) ownNote(typ uint32, addr uint64) {
	if addr != 0 {
		note := binary.LittleEndian.AppendUint64(noteHeader(ownName, typ, abi.NoteOwnSize), addr)
		w.add(phdr{typ: ptNote, flags: uint32(R), align: 4}, note)
	}
}

func abiNote(t Target, version uint32) []byte {
	le := binary.LittleEndian
	b := noteHeader(noteName, abi.NoteABI1, abi.NoteABI1Size)
	b = le.AppendUint32(b, uint32(t))
	b = le.AppendUint32(b, version)
	return le.AppendUint64(b, 0)
}

func manifestNote(m Manifest) []byte {
	b := noteHeader(noteName, abi.NoteMFT1, abi.NoteMFT1Pad+m.Size())
	b = append(b, 0, 0, 0, 0) // abi.NoteMFT1Pad
	return m.AppendTo(b)
}

func noteHeader(name string, typ uint32, size int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(raw.Slice[byte](0, noteHeaderSize+size), uint32(len(name)))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, typ)
	b = append(b, name...)
	return append(b, 0, 0) // up to noteHeaderSize: names have the same length
}
