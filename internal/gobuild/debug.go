package gobuild

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"gocat/internal/image"
)

// Offsets in Elf64_Ehdr and Elf64_Shdr, and the size of the latter (elf(5)).
const (
	ehdrShoff     = 40
	ehdrShentsize = 58
	ehdrShnum     = 60
	ehdrShstrndx  = 62

	shdrOffset = 24
	shdrSize   = image.SectionSize
)

// withSections appends to an image the section headers of the program that it was
// made of, with their contents where no segment has them: symbols and debugging
// information. Symbols name sections by number, so all headers stay.
func withSections(img, program []byte) ([]byte, error) {
	le := binary.LittleEndian
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("linked program: %w", err)
	}
	made, err := elf.NewFile(bytes.NewReader(img))
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	headers := bytes.Clone(program[le.Uint64(program[ehdrShoff:]):][:len(f.Sections)*shdrSize])
	for i, s := range f.Sections {
		at := uint64(0)
		switch {
		case s.Type == elf.SHT_NULL:
		case s.Flags&elf.SHF_ALLOC != 0:
			at = offsetOf(made, s.Addr)
		case s.Type != elf.SHT_NOBITS:
			img = pad(img, max(s.Addralign, 1))
			at = uint64(len(img))
			img = append(img, program[s.Offset:][:s.FileSize]...)
		}
		le.PutUint64(headers[i*shdrSize+shdrOffset:], at)
	}
	img = pad(img, 8)
	le.PutUint64(img[ehdrShoff:], uint64(len(img)))
	le.PutUint16(img[ehdrShentsize:], shdrSize)
	le.PutUint16(img[ehdrShnum:], uint16(len(f.Sections)))
	copy(img[ehdrShstrndx:][:2], program[ehdrShstrndx:])
	return append(img, headers...), nil
}

// offsetOf returns where in the image's file guest address addr is.
func offsetOf(f *elf.File, addr uint64) uint64 {
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && addr >= p.Vaddr && addr-p.Vaddr < p.Memsz {
			return p.Off + min(addr-p.Vaddr, p.Filesz)
		}
	}
	return 0
}

// pad fills up to a multiple of align.
func pad(b []byte, align uint64) []byte {
	if n := uint64(len(b)) % align; n != 0 {
		b = append(b, make([]byte, align-n)...)
	}
	return b
}
