package image

import "encoding/binary"

// SectionSize is the size of a section header in bytes (Elf64_Shdr).
const SectionSize = 64

// Sizes and values of ELF64 section headers and symbols (System V ABI, chapter 4).
const (
	shdrSize = SectionSize
	symSize  = 24

	shtSymtab    = 2
	shtStrtab    = 3
	shfExecinstr = 4

	sttNotype = 0
	sttFunc   = 2
)

// Bounds on what FunctionAt reads of a hostile file.
const (
	maxShdrs  = 1024
	maxSymtab = 64 << 20 // bytes, some 2.8 million symbols
	maxSymbol = 255      // bytes of a name
)

// shdr is an Elf64_Shdr, without what is not needed here.
type shdr struct {
	typ, link                 uint32
	flags, addr, offset, size uint64
}

// FunctionAt names the function of an image that holds guest address addr, and
// how many bytes addr lies past its start, for messages about faults. The name
// is nil when the image has no symbols, or none that fits, or is malformed. It is
// printable ASCII of at most 255 bytes, a part of elf; a longer one is cut.
//
// It takes no memory: a tender calls it when there is none to have.
func FunctionAt(elf []byte, addr uint64) (name []byte, offset uint64) {
	t := sectionTable(elf)
	for i := range t.n {
		symtab := t.section(i)
		if symtab.typ != shtSymtab {
			continue
		}
		// ELF allows one symbol table, which also bounds the time this takes.
		if uint64(symtab.link) >= uint64(t.n) {
			return nil, 0
		}
		strtab := t.section(int(symtab.link))
		if strtab.typ != shtStrtab {
			return nil, 0
		}
		nameOffset, value, ok := t.find(&symtab, addr)
		if !ok {
			return nil, 0
		}
		if name = t.name(&strtab, nameOffset); name == nil {
			return nil, 0
		}
		return name, addr - value
	}
	return nil, 0
}

// sections is an image with n section headers at offset headers, all of them in
// the file.
type sections struct {
	elf     []byte
	headers uint64
	n       int
}

// sectionTable finds the section headers, none if there are none to trust.
func sectionTable(elf []byte) (t sections) {
	le := binary.LittleEndian
	if len(elf) < ehdrSize || string(elf[:6]) != "\x7fELF\x02\x01" {
		return t
	}
	t.elf, t.headers = elf, le.Uint64(elf[40:])
	shentsize, shnum := le.Uint16(elf[58:]), le.Uint16(elf[60:])
	if shentsize != shdrSize || shnum > maxShdrs || t.bytes(t.headers, uint64(shnum)*shdrSize) == nil {
		return sections{}
	}
	t.n = int(shnum)
	return t
}

// bytes returns n bytes of the file at offset, nil if it has not got them.
func (t *sections) bytes(offset, n uint64) []byte {
	if offset > uint64(len(t.elf)) || n > uint64(len(t.elf))-offset {
		return nil
	}
	return t.elf[offset:][:n]
}

func (t *sections) section(i int) shdr {
	le := binary.LittleEndian
	s := t.elf[t.headers+uint64(i)*shdrSize:][:shdrSize]
	return shdr{
		typ:    le.Uint32(s[4:]),
		flags:  le.Uint64(s[8:]),
		addr:   le.Uint64(s[16:]),
		offset: le.Uint64(s[24:]),
		size:   le.Uint64(s[32:]),
		link:   le.Uint32(s[40:]),
	}
}

// find returns the name's offset in the string table, and the address, of
// the symbol that best describes addr: the innermost function whose size covers
// it, else the nearest label without size (assembly has those) before it in the
// same executable section.
func (t *sections) find(symtab *shdr, addr uint64) (name uint32, value uint64, ok bool) {
	le := binary.LittleEndian
	sized := false
	for b := t.bytes(symtab.offset, min(symtab.size, maxSymtab)); len(b) >= symSize; b = b[symSize:] {
		n, typ, shndx := le.Uint32(b), b[4]&0xf, int(le.Uint16(b[6:]))
		v, length := le.Uint64(b[8:]), le.Uint64(b[16:])
		if n == 0 || v > addr || shndx == 0 || shndx >= t.n {
			continue
		}
		switch {
		case typ == sttFunc && addr-v < length:
			if ok && sized && v <= value {
				continue
			}
			sized = true
		case (typ == sttFunc || typ == sttNotype) && length == 0 && !sized:
			s := t.section(shndx)
			inside := s.flags&shfExecinstr != 0 && v >= s.addr && addr-s.addr < s.size
			if !inside || ok && v <= value {
				continue
			}
		default:
			continue
		}
		name, value, ok = n, v, true
	}
	return name, value, ok
}

// name returns the string at offset off of strtab, nil if it is not printable.
func (t *sections) name(strtab *shdr, off uint32) []byte {
	if uint64(off) >= strtab.size || strtab.offset+uint64(off) < strtab.offset {
		return nil
	}
	b := t.bytes(strtab.offset+uint64(off), min(strtab.size-uint64(off), maxSymbol+1))
	for i, c := range b {
		switch {
		case c == 0:
			b = b[:i]
		case c <= ' ' || c > '~':
			return nil
		case i < maxSymbol:
			continue
		default:
			b = b[:maxSymbol]
		}
		break
	}
	if len(b) == 0 {
		return nil
	}
	return b
}
