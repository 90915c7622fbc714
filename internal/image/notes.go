package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"gocat/internal/abi"
)

// A Solo5 note is an Elf64_Nhdr and the name "Solo5", padded to 4 bytes, in a
// PT_NOTE of its own (Solo5 elf_abi.h, mft_abi.h).
const (
	noteName       = "Solo5\x00"
	nhdrSize       = 12 // n_namesz, n_descsz, n_type: u32 each
	noteHeaderSize = nhdrSize + 8

	mft1MaxSize = abi.NoteMFT1Pad + abi.ManifestHeader + MaxEntries*abi.EntrySize

	ownName = "gocat\x00" // of gocat's own notes
)

// readNotes sets the target, the version and the manifest.
//
// As in Solo5's tenders only the first note of a PT_NOTE counts. Of two notes of
// one type Solo5 takes the first; here they are refused, lest two tools see two
// images in one file.
//
// With all, the target may be one that gocat does not tend.
func (m *Image) readNotes(r *headers, phdrs []phdr, all bool) error {
	var target, mft, flt, tmr, sig, rng, gen []byte
	for i := range phdrs {
		p := &phdrs[i]
		if p.typ != ptNote {
			continue
		}
		typ, desc, err := readNote(r, p)
		if err != nil {
			return invalidf("program header %d (PT_NOTE): %w", p.index, err)
		}
		switch {
		case typ == abi.NoteABI1 && target == nil:
			target = desc
		case typ == abi.NoteMFT1 && mft == nil:
			mft = desc
		case typ == abi.NoteFLT1 && flt == nil:
			flt = desc
			m.Fault = binary.LittleEndian.Uint64(flt)
		case typ == abi.NoteTMR1 && tmr == nil:
			tmr = desc
			m.Timer = binary.LittleEndian.Uint64(tmr)
		case typ == abi.NoteSIG1 && sig == nil:
			sig = desc
			m.Signals = binary.LittleEndian.Uint64(sig)
		case typ == abi.NoteRNG1 && rng == nil:
			rng = desc
			m.Ring = binary.LittleEndian.Uint64(rng)
		case typ == abi.NoteGEN1 && gen == nil:
			gen = desc
			m.Generation = binary.LittleEndian.Uint64(gen)
		case typ != 0:
			return invalidf("program header %d (PT_NOTE): second Solo5 note of type %#x", p.index, typ)
		}
	}
	if target == nil {
		return invalidf("No Solo5 ABI information found in executable: it has no ABI1 note")
	}
	m.Target = Target(binary.LittleEndian.Uint32(target))
	m.Version = binary.LittleEndian.Uint32(target[4:])
	if m.Target != HVT && m.Target != SPT && !all {
		return fmt.Errorf("image is for Solo5 target %v, expected hvt or spt", m.Target)
	}
	if m.Version != 1 && m.Version != 2 && !all {
		return fmt.Errorf("image has ABI version %d of %v, expected 1 or 2", m.Version, m.Target)
	}
	if mft == nil {
		return invalidf("No Solo5 manifest found in executable: it has no MFT1 note")
	}
	var err error
	m.Manifest, err = ParseManifest(mft)
	return err
}

// maxSealed is the longest note of a sealed guest that is read, in bytes: guest
// arguments have at most 8191, a manifest 63 devices, and a path 4095.
const maxSealed = 1 << 20

// SealedNote returns the text of the note that gocat seal puts into an executable.
func SealedNote(file io.ReaderAt) ([]byte, error) {
	r := &headers{r: file}
	_, phdrs, err := readHeaders(r)
	if err != nil {
		return nil, err
	}
	for _, p := range phdrs {
		if p.typ != ptNote || p.filesz < noteHeaderSize || p.filesz > maxSealed {
			continue
		}
		b, err := r.read(p.offset, int(p.filesz))
		if err != nil {
			return nil, err
		}
		size := uint64(binary.LittleEndian.Uint32(b[4:]))
		if binary.LittleEndian.Uint32(b) == uint32(len(ownName)) && binary.LittleEndian.Uint32(b[8:]) == abi.NoteSEL1 &&
			string(b[nhdrSize:][:len(ownName)]) == ownName && size <= p.filesz-noteHeaderSize {
			return b[noteHeaderSize:][:size], nil
		}
	}
	return nil, errNotSealed
}

var errNotSealed = errors.New("it has no note of gocat seal")

// SegmentAt returns what a file has of the segment at an address.
func SegmentAt(file io.ReaderAt, vaddr uint64) (*io.SectionReader, error) {
	_, phdrs, err := readHeaders(&headers{r: file})
	if err != nil {
		return nil, err
	}
	for _, p := range phdrs {
		if p.typ == ptLoad && p.vaddr == vaddr && p.offset < 1<<62 && p.filesz < 1<<62 {
			return io.NewSectionReader(file, int64(p.offset), int64(p.filesz)), nil
		}
	}
	return nil, errNoSegment
}

var errNoSegment = errors.New("it has no segment there")

// readNote reads the note at p. The type is 0 for one that is not ours;
// otherwise desc is the note's content without padding.
func readNote(r *headers, p *phdr) (typ uint32, desc []byte, err error) {
	const badSize = "note does not fall within valid size: "
	if p.filesz < nhdrSize {
		return 0, nil, fmt.Errorf(badSize+"%d bytes, fewer than a note header's %d", p.filesz, nhdrSize)
	}
	if p.filesz < noteHeaderSize {
		return 0, nil, nil
	}
	le := binary.LittleEndian
	h, err := r.read(p.offset, noteHeaderSize)
	if err != nil {
		return 0, nil, fmt.Errorf("note header: %w", err)
	}
	name := string(h[nhdrSize:][:len(noteName)]) // both names have that length
	if le.Uint32(h[0:]) != uint32(len(noteName)) {
		return 0, nil, nil
	}
	size := le.Uint32(h[4:])
	var pad, lo, hi uint32
	switch typ = le.Uint32(h[8:]); {
	case name == noteName && typ == abi.NoteABI1:
		lo, hi = abi.NoteABI1Size, abi.NoteABI1MaxSize
	case name == noteName && typ == abi.NoteMFT1:
		pad, lo, hi = abi.NoteMFT1Pad, abi.NoteMFT1Pad+1, mft1MaxSize
	case name == ownName && (typ == abi.NoteFLT1 || typ == abi.NoteTMR1 || typ == abi.NoteSIG1 || typ == abi.NoteRNG1 || typ == abi.NoteGEN1):
		lo, hi = abi.NoteOwnSize, abi.NoteOwnSize
	default:
		return 0, nil, nil
	}
	if size < lo || size > hi {
		return 0, nil, fmt.Errorf(badSize+"content of %d bytes, expected %d to %d", size, lo, hi)
	}
	if p.filesz < noteHeaderSize+uint64(size) {
		return 0, nil, fmt.Errorf(badSize+"content of %d bytes in a segment of %d", size, p.filesz)
	}
	// No overflow: the header was read from p.offset.
	desc, err = r.read(p.offset+noteHeaderSize+uint64(pad), int(size-pad))
	if err != nil {
		return 0, nil, fmt.Errorf("note content: %w", err)
	}
	return typ, desc, nil
}
