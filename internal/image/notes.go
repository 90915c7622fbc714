package image

import (
	"encoding/binary"
	"fmt"
)

// A Solo5 note is an Elf64_Nhdr and the name "Solo5", padded to 4 bytes, in a
// PT_NOTE of its own (Solo5 elf_abi.h, mft_abi.h).
const (
	noteName       = "Solo5\x00"
	nhdrSize       = 12 // n_namesz, n_descsz, n_type: u32 each
	noteHeaderSize = nhdrSize + 8

	abi1Type    = 0x31494241 // "ABI1"
	abi1Size    = 16         // target, version, two reserved words
	abi1MaxSize = 32         // ABI1_NOTE_MAX_SIZE

	mft1Type    = 0x3154464d // "MFT1"
	mft1Pad     = 4          // the manifest is aligned to 8 within the note
	mft1MaxSize = mft1Pad + mftHeaderSize + MaxEntries*entrySize

	// gocat's own notes, each an address, which Solo5's tenders do not look at.
	ownName  = "gocat\x00"
	ownSize  = 8
	flt1Type = 0x31544c46 // "FLT1"
	tmr1Type = 0x31524d54 // "TMR1"
)

// readNotes sets the target, the version and the manifest.
//
// As in Solo5's tenders only the first note of a PT_NOTE counts. Of two notes of
// one type Solo5 takes the first; here they are refused, lest two tools see two
// images in one file.
func (m *Image) readNotes(r *headers, phdrs []phdr) error {
	var abi, mft, flt, tmr []byte
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
		case typ == abi1Type && abi == nil:
			abi = desc
		case typ == mft1Type && mft == nil:
			mft = desc
		case typ == flt1Type && flt == nil:
			flt = desc
			m.Fault = binary.LittleEndian.Uint64(flt)
		case typ == tmr1Type && tmr == nil:
			tmr = desc
			m.Timer = binary.LittleEndian.Uint64(tmr)
		case typ != 0:
			return invalidf("program header %d (PT_NOTE): second Solo5 note of type %#x", p.index, typ)
		}
	}
	if abi == nil {
		return invalidf("No Solo5 ABI information found in executable: it has no ABI1 note")
	}
	m.Target = Target(binary.LittleEndian.Uint32(abi))
	m.Version = binary.LittleEndian.Uint32(abi[4:])
	if m.Target != HVT && m.Target != SPT {
		return fmt.Errorf("image is for Solo5 target %v, expected hvt or spt", m.Target)
	}
	if m.Version != 1 && m.Version != 2 {
		return fmt.Errorf("image has ABI version %d of %v, expected 1 or 2", m.Version, m.Target)
	}
	if mft == nil {
		return invalidf("No Solo5 manifest found in executable: it has no MFT1 note")
	}
	var err error
	m.Manifest, err = ParseManifest(mft)
	return err
}

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
	case name == noteName && typ == abi1Type:
		lo, hi = abi1Size, abi1MaxSize
	case name == noteName && typ == mft1Type:
		pad, lo, hi = mft1Pad, mft1Pad+1, mft1MaxSize
	case name == ownName && (typ == flt1Type || typ == tmr1Type):
		lo, hi = ownSize, ownSize
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
