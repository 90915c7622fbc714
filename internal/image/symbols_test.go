package image

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// sym is an Elf64_Sym.
type sym struct {
	name        string
	info        byte
	section     uint16
	value, size uint64
}

// withSymbols appends to the image b a section table: none, .text at 0x100000
// (5000 bytes), .data, .symtab and .strtab.
func withSymbols(b []byte, syms []sym) []byte {
	strtab := []byte{0}
	var symtab []byte
	for _, s := range syms {
		name := 0
		if s.name != "" {
			name = len(strtab)
			strtab = append(append(strtab, s.name...), 0)
		}
		symtab = le.AppendUint32(symtab, uint32(name))
		symtab = append(symtab, s.info, 0)
		symtab = le.AppendUint16(symtab, s.section)
		symtab = le.AppendUint64(symtab, s.value)
		symtab = le.AppendUint64(symtab, s.size)
	}
	b = bytes.Clone(b)
	symOff := len(b)
	b = append(b, symtab...)
	strOff := len(b)
	b = append(b, strtab...)
	le.PutUint64(b[40:], uint64(len(b)))
	le.PutUint16(b[58:], shdrSize)
	le.PutUint16(b[60:], 5)
	for _, s := range []shdr{
		{},
		{typ: 1, flags: shfExecinstr | 2, addr: 0x100000, size: 5000},
		{typ: 1, flags: 3, addr: 0x103010, size: 9},
		{typ: shtSymtab, link: 4, offset: uint64(symOff), size: uint64(len(symtab))},
		{typ: shtStrtab, offset: uint64(strOff), size: uint64(len(strtab))},
	} {
		var h [shdrSize]byte
		le.PutUint32(h[4:], s.typ)
		le.PutUint64(h[8:], s.flags)
		le.PutUint64(h[16:], s.addr)
		le.PutUint64(h[24:], s.offset)
		le.PutUint64(h[32:], s.size)
		le.PutUint32(h[40:], s.link)
		b = append(b, h[:]...)
	}
	return b
}

var testSymbols = []sym{
	{},
	{"entry", sttNotype, 1, 0x100010, 0},
	{"main", 1<<4 | sttFunc, 1, 0x100100, 0x100},
	{"inner", sttFunc, 1, 0x100140, 0x10},
	{"label", sttNotype, 1, 0x100180, 0},
	{"alias", sttFunc, 1, 0x100100, 0x100},
	{"undefined", sttFunc, 0, 0x100000, 0x1000},
	{"absolute", sttNotype, 0xfff1, 0x100300, 0},
	{"table", 1, 1, 0x100400, 0x100},
	{"esc\x1b[31m", sttFunc, 1, 0x100500, 0x10},
	{"variable", 1, 2, 0x103010, 8},
	{"dataLabel", sttNotype, 2, 0x103010, 0},
	{strings.Repeat("L", 300), sttFunc, 1, 0x100600, 0x10},
	{"last", sttFunc, 1, ^uint64(0) - 15, 16},
}

func TestFunctionAt(t *testing.T) {
	b := withSymbols(mustEncode(t, hello(HVT)), testSymbols)
	if _, err := Parse(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		addr   uint64
		name   string
		offset uint64
	}{
		{0, "", 0},
		{0x10000f, "", 0},
		{0x100010, "entry", 0},
		{0x1000ff, "entry", 0xef},
		{0x100100, "main", 0},
		{0x10013f, "main", 0x3f},
		{0x100140, "inner", 0},
		{0x10014f, "inner", 0xf},
		{0x100150, "main", 0x50},
		{0x100181, "main", 0x81}, // a function's size beats a label in it
		{0x1001ff, "main", 0xff},
		{0x100200, "label", 0x80},
		{0x100400, "label", 0x280},
		{0x100501, "", 0}, // would write an escape sequence to a terminal
		{0x100601, strings.Repeat("L", maxSymbol), 1},
		{0x101387, "label", 0x1207},
		{0x101388, "", 0}, // past .text
		{0x103010, "", 0},
		{^uint64(0), "last", 15},
	}
	for _, tt := range tests {
		if name, off := FunctionAt(b, tt.addr); string(name) != tt.name || off != tt.offset {
			t.Errorf("%#x: %q+%#x, expected %q+%#x", tt.addr, name, off, tt.name, tt.offset)
		}
	}
}

// TestFunctionAtMalformed breaks the tables one field at a time.
func TestFunctionAtMalformed(t *testing.T) {
	plain := mustEncode(t, hello(HVT))
	good := withSymbols(plain, testSymbols)
	section := func(b []byte, i int) []byte { return b[le.Uint64(b[40:])+uint64(i*shdrSize):] }
	for name, patch := range map[string]func(b []byte) []byte{
		"no sections":            func([]byte) []byte { return plain },
		"empty":                  func([]byte) []byte { return nil },
		"not ELF":                func(b []byte) []byte { b[0] = 0; return b },
		"truncated":              func(b []byte) []byte { return b[:len(b)-1] },
		"shoff overflows":        func(b []byte) []byte { le.PutUint64(b[40:], ^uint64(0)); return b },
		"shentsize":              func(b []byte) []byte { b[58] = 63; return b },
		"shnum":                  func(b []byte) []byte { le.PutUint16(b[60:], 0xffff); return b },
		"link past the sections": func(b []byte) []byte { le.PutUint32(section(b, 3)[40:], 5); return b },
		"link to no strtab":      func(b []byte) []byte { le.PutUint32(section(b, 3)[40:], 1); return b },
		"symtab past the end":    func(b []byte) []byte { le.PutUint64(section(b, 3)[24:], uint64(len(b))); return b },
		"symtab overflows":       func(b []byte) []byte { le.PutUint64(section(b, 3)[24:], ^uint64(0)-8); return b },
		"symtab of 16 EB":        func(b []byte) []byte { le.PutUint64(section(b, 3)[32:], ^uint64(0)); return b },
		"strtab empty":           func(b []byte) []byte { le.PutUint64(section(b, 4)[32:], 0); return b },
		"strtab overflows":       func(b []byte) []byte { le.PutUint64(section(b, 4)[24:], ^uint64(0)); return b },
	} {
		b := patch(bytes.Clone(good))
		if got, off := FunctionAt(b, 0x100100); got != nil || off != 0 {
			t.Errorf("%s: %q+%#x", name, got, off)
		}
	}
}

// TestFunctionAtSolo5 finds the entry point's name in images of Solo5's linker.
func TestFunctionAtSolo5(t *testing.T) {
	dir := testhost.Solo5(t)
	for _, name := range []string{"test_hello.hvt", "test_hello.spt"} {
		b, err := os.ReadFile(filepath.Join(dir, "tests", "test_hello", name))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if fn, off := FunctionAt(b, m.Entry+1); string(fn) != "_start" || off != 1 {
			t.Errorf("%s: entry+1 is %q+%d, expected _start+1", name, fn, off)
		}
	}
}
