package image

import (
	"bytes"
	"encoding/binary"
	"io"
)

// Sizes and values of ELF64 section headers and symbols (System V ABI, chapter 4).
const (
	shdrSize = 64
	symSize  = 24

	shtSymtab    = 2
	shtStrtab    = 3
	shfExecinstr = 4

	sttNotype = 0
	sttFunc   = 2
)

// Bounds on what FunctionAt reads of a hostile file.
const (
	maxShdrs   = 1024
	maxSymtab  = 64 << 20 // bytes, some 2.8 million symbols
	maxSymbol  = 255      // bytes of a name
	symtabRead = 2048 * symSize
)

// shdr is an Elf64_Shdr, without what is not needed here.
type shdr struct {
	typ, link                 uint32
	flags, addr, offset, size uint64
}

// FunctionAt names the function of the image r that holds guest address addr,
// and how many bytes addr lies past its start, for messages about faults. The
// name is "" when the image has no symbols, or none that fits, or is malformed.
// It is printable ASCII of at most 255 bytes; a longer one is cut.
func FunctionAt(r io.ReaderAt, addr uint64) (name string, offset uint64) {
	sections := readSections(r)
	for i := range sections {
		symtab := &sections[i]
		if symtab.typ != shtSymtab {
			continue
		}
		// ELF allows one symbol table, which also bounds the time this takes.
		if uint64(symtab.link) >= uint64(len(sections)) || sections[symtab.link].typ != shtStrtab {
			return "", 0
		}
		nameOffset, value, ok := findSymbol(r, sections, symtab, addr)
		if !ok {
			return "", 0
		}
		if name = readString(r, &sections[symtab.link], nameOffset); name == "" {
			return "", 0
		}
		return name, addr - value
	}
	return "", 0
}

// readSections returns the section headers, or nil if there are none to trust.
func readSections(r io.ReaderAt) []shdr {
	le := binary.LittleEndian
	var h [ehdrSize]byte
	if readAt(r, h[:], 0) != nil || string(h[:6]) != "\x7fELF\x02\x01" {
		return nil
	}
	shoff, shentsize, shnum := le.Uint64(h[40:]), le.Uint16(h[58:]), le.Uint16(h[60:])
	if shentsize != shdrSize || shnum > maxShdrs {
		return nil
	}
	b := make([]byte, int(shnum)*shdrSize)
	if readAt(r, b, shoff) != nil {
		return nil
	}
	sections := make([]shdr, shnum)
	for i := range sections {
		s := b[i*shdrSize:][:shdrSize]
		sections[i] = shdr{
			typ:    le.Uint32(s[4:]),
			flags:  le.Uint64(s[8:]),
			addr:   le.Uint64(s[16:]),
			offset: le.Uint64(s[24:]),
			size:   le.Uint64(s[32:]),
			link:   le.Uint32(s[40:]),
		}
	}
	return sections
}

// findSymbol returns the name's offset in the string table, and the address, of
// the symbol that best describes addr: the innermost function whose size covers
// it, else the nearest label without size (assembly has those) before it in the
// same executable section.
func findSymbol(r io.ReaderAt, sections []shdr, symtab *shdr, addr uint64) (name uint32, value uint64, ok bool) {
	le := binary.LittleEndian
	size := min(symtab.size, maxSymtab)
	if symtab.offset+size < symtab.offset {
		return 0, 0, false
	}
	sized := false
	buf := make([]byte, min(size, symtabRead))
	for done := uint64(0); size-done >= symSize; {
		b := buf[:min(size-done, symtabRead)]
		if readAt(r, b, symtab.offset+done) != nil {
			return 0, 0, false
		}
		done += uint64(len(b))
		for ; len(b) >= symSize; b = b[symSize:] {
			n, typ, shndx := le.Uint32(b), b[4]&0xf, int(le.Uint16(b[6:]))
			v, length := le.Uint64(b[8:]), le.Uint64(b[16:])
			if n == 0 || v > addr || shndx == 0 || shndx >= len(sections) {
				continue
			}
			switch {
			case typ == sttFunc && addr-v < length:
				if ok && sized && v <= value {
					continue
				}
				sized = true
			case (typ == sttFunc || typ == sttNotype) && length == 0 && !sized:
				s := &sections[shndx]
				inside := s.flags&shfExecinstr != 0 && v >= s.addr && addr-s.addr < s.size
				if !inside || ok && v <= value {
					continue
				}
			default:
				continue
			}
			name, value, ok = n, v, true
		}
	}
	return name, value, ok
}

// readString returns the string at offset off of strtab, "" if it is not
// printable.
func readString(r io.ReaderAt, strtab *shdr, off uint32) string {
	if uint64(off) >= strtab.size || strtab.offset+uint64(off) < strtab.offset {
		return ""
	}
	b := make([]byte, min(strtab.size-uint64(off), maxSymbol+1))
	if readAt(r, b, strtab.offset+uint64(off)) != nil {
		return ""
	}
	if n := bytes.IndexByte(b, 0); n >= 0 {
		b = b[:n]
	} else {
		b = b[:min(len(b), maxSymbol)]
	}
	for _, c := range b {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return string(b)
}
