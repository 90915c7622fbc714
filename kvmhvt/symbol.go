package kvmhvt

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"strconv"
)

// Layout of a 64-bit ELF file's section headers and symbols (elf.h), in bytes.
const (
	elfHeaderSize   = 64
	elfShoff        = 40 // u64: offset of the section headers
	elfShnum        = 60 // u16
	sectionSize     = 64
	sectionType     = 4  // u32
	sectionOffset   = 24 // u64
	sectionLength   = 32 // u64
	sectionLink     = 40 // u32: of a symbol table, its string table
	sectionSymbols  = 2  // SHT_SYMTAB
	symbolSize      = 24
	symbolInfo      = 4 // u8
	symbolValue     = 8 // u64
	symbolLength    = 16
	symbolFunction  = 2 // STT_FUNC
	maxFunctionName = 256
)

// Symbol returns the function that a guest address is in, as NAME+0xOFFSET, by
// the symbol table of an ELF image, or "" when there is none. The image is
// hostile: it may be anything. It may also be a mapping of a file that has
// become shorter since.
func Symbol(elf []byte, addr uint64) (name string) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil { // reading past the end of the mapped file
			name = ""
		}
	}()
	le := binary.LittleEndian
	if len(elf) < elfHeaderSize {
		return ""
	}
	headers := cut(elf, le.Uint64(elf[elfShoff:]), uint64(le.Uint16(elf[elfShnum:]))*sectionSize)
	for rest := headers; len(rest) >= sectionSize; rest = rest[sectionSize:] {
		if le.Uint32(rest[sectionType:]) != sectionSymbols {
			continue
		}
		symbols := section(elf, rest)
		names := section(elf, cut(headers, uint64(le.Uint32(rest[sectionLink:]))*sectionSize, sectionSize))
		for ; len(symbols) >= symbolSize; symbols = symbols[symbolSize:] {
			start, size := le.Uint64(symbols[symbolValue:]), le.Uint64(symbols[symbolLength:])
			if symbols[symbolInfo]&15 != symbolFunction || addr < start || addr-start >= max(size, 1) {
				continue
			}
			if name := printable(names, uint64(le.Uint32(symbols))); name != "" {
				return name + "+0x" + strconv.FormatUint(addr-start, 16)
			}
		}
	}
	return ""
}

// section returns the contents of a section by its header, nil when there are
// none.
func section(elf, header []byte) []byte {
	if len(header) < sectionSize {
		return nil
	}
	return cut(elf, load64(header, sectionOffset), load64(header, sectionLength))
}

// cut returns n bytes of b at an offset, or nil.
func cut(b []byte, offset, n uint64) []byte {
	if offset > uint64(len(b)) || n > uint64(len(b))-offset {
		return nil
	}
	return b[offset : offset+n]
}

// printable returns the string at an offset in a string table if it is short
// and of printable ASCII.
func printable(names []byte, offset uint64) string {
	if offset >= uint64(len(names)) {
		return ""
	}
	b := names[offset:]
	end := bytes.IndexByte(b[:min(len(b), maxFunctionName)], 0)
	if end < 0 {
		return ""
	}
	for _, c := range b[:end] {
		if c <= ' ' || c > '~' {
			return ""
		}
	}
	return string(b[:end])
}
