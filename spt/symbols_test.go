package spt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// symbol is an Elf64_Sym.
type symbol struct {
	Name        uint32
	Info, Other uint8
	Section     uint16
	Value, Size uint64
}

// section is an Elf64_Shdr.
type section struct {
	Name, Type                uint32
	Flags, Addr, Offset, Size uint64
	Link, Info                uint32
	Align, Entsize            uint64
}

// Values of section headers (elf.h).
const (
	progbits = 1
	symtab   = 2
	strtab   = 3
	alloc    = 2
	exec     = 4
)

// withTables appends symbols, names and sections to an image. The sections are
// none, the given ones, .symtab and .strtab.
func withTables(img []byte, symbols []symbol, names string, sections ...section) []byte {
	b := slices.Clone(img)
	put := func(v any) (offset, size uint64) {
		var w bytes.Buffer
		binary.Write(&w, binary.LittleEndian, v)
		offset = uint64(len(b))
		b = append(b, w.Bytes()...)
		return offset, uint64(w.Len())
	}
	sections = append([]section{{}}, sections...)
	s := section{Type: symtab, Link: uint32(len(sections) + 1), Entsize: 24}
	s.Offset, s.Size = put(symbols)
	n := section{Type: strtab}
	n.Offset, n.Size = put([]byte(names))
	sections = append(sections, s, n)
	at, _ := put(sections)
	binary.LittleEndian.PutUint64(b[40:], at)
	binary.LittleEndian.PutUint16(b[58:], image.SectionSize)
	binary.LittleEndian.PutUint16(b[60:], uint16(len(sections)))
	return b
}

var namedLine = regexp.MustCompile(`; rip 0x([0-9a-f]+)( in ([!-~]+)\+0x([0-9a-f]+))?\n$`)

// name returns the address, the function and the offset that a report has.
func name(t *testing.T, line string) (rip uint64, function string, offset uint64) {
	t.Helper()
	m := namedLine.FindStringSubmatch(line)
	if m == nil || strings.Count(line, "\n") != 1 {
		t.Fatalf("the report is %q", line)
	}
	rip, _ = strconv.ParseUint(m[1], 16, 64)
	offset, _ = strconv.ParseUint(m[4], 16, 64)
	return rip, m[3], offset
}

// forbiddenProbe makes a forbidden call at an address that is returned with its
// image.
func forbiddenProbe(t *testing.T) (u *unikernel, rip uint64) {
	t.Helper()
	u = probe(t, func(p *guests.Probe) { execute(p, call(forbidden)) })
	rip, _, _ = name(t, u.run(t).Stderr)
	return u, rip
}

// TestReporterNames compares the reporter with image.FunctionAt on tables of all
// kinds: no guest's make it say anything else, or end otherwise.
func TestReporterNames(t *testing.T) {
	u, rip := forbiddenProbe(t)
	plain := u.Image
	base := rip &^ 0xfff
	textSection := section{Type: progbits, Flags: alloc | exec, Addr: base, Size: 0x1000}
	data := section{Type: progbits, Flags: alloc, Addr: base, Size: 0x1000}
	long := strings.Repeat("L", 300)
	const fn, label = 2, 0
	names := "\x00main\x00inner\x00esc\x1b[31m\x00bl ank\x00\x7f\x00" + long + "\x00end"
	at := func(name string) uint32 { return uint32(strings.Index(names, "\x00"+name) + 1) }
	cases := map[string][]byte{
		"none":             withTables(plain, []symbol{{}}, names, textSection),
		"function":         withTables(plain, []symbol{{}, {at("main"), fn, 0, 1, rip - 5, 9}}, names, textSection),
		"its end":          withTables(plain, []symbol{{at("main"), fn, 0, 1, rip - 5, 5}}, names, textSection),
		"its last byte":    withTables(plain, []symbol{{at("main"), fn, 0, 1, rip - 5, 6}}, names, textSection),
		"inner":            withTables(plain, []symbol{{at("inner"), fn, 0, 1, rip, 1}, {at("main"), fn, 0, 1, rip - 5, 9}}, names, textSection),
		"label":            withTables(plain, []symbol{{at("main"), label, 0, 1, rip - 1, 0}}, names, textSection),
		"label in data":    withTables(plain, []symbol{{at("main"), label, 0, 2, rip - 1, 0}}, names, textSection, data),
		"later label":      withTables(plain, []symbol{{at("main"), label, 0, 1, rip + 1, 0}}, names, textSection),
		"escape":           withTables(plain, []symbol{{at("esc"), fn, 0, 1, rip, 9}}, names, textSection),
		"blank":            withTables(plain, []symbol{{at("bl ank"), fn, 0, 1, rip, 9}}, names, textSection),
		"delete":           withTables(plain, []symbol{{at("\x7f"), fn, 0, 1, rip, 9}}, names, textSection),
		"long":             withTables(plain, []symbol{{at(long), fn, 0, 1, rip, 9}}, names, textSection),
		"no end":           withTables(plain, []symbol{{at("end"), fn, 0, 1, rip, 9}}, names, textSection),
		"name behind":      withTables(plain, []symbol{{uint32(len(names)), fn, 0, 1, rip, 9}}, names, textSection),
		"name far behind":  withTables(plain, []symbol{{^uint32(0), fn, 0, 1, rip, 9}}, names, textSection),
		"section behind":   withTables(plain, []symbol{{at("main"), label, 0, 0xffff, rip, 0}}, names, textSection),
		"size wraps":       withTables(plain, []symbol{{at("main"), fn, 0, 1, 1, ^uint64(0)}}, names, textSection),
		"part of a symbol": withTables(plain, []symbol{{at("main"), fn, 0, 1, rip, 9}}, names, textSection)[:len(plain)],
	}
	r := rand.New(rand.NewPCG(16, 1))
	for n := range 60 {
		symbols := make([]symbol, r.IntN(40))
		for i := range symbols {
			symbols[i] = symbol{uint32(r.IntN(len(names) + 9)), uint8(r.IntN(3)), 0, uint16(r.IntN(7)), rip - 20 + r.Uint64N(30), uint64(r.IntN(20))}
			if r.IntN(2) == 0 {
				symbols[i].Size = 0
			}
		}
		odd := section{Type: progbits, Flags: r.Uint64(), Addr: rip - r.Uint64N(30), Size: r.Uint64N(40)}
		cases[fmt.Sprint("random ", n)] = withTables(plain, symbols, names, textSection, data, odd)
	}
	named := 0
	for what, img := range cases {
		u.Image = img
		res := u.run(t)
		got, function, offset := name(t, res.Stderr)
		want, wantOffset := image.FunctionAt(img, rip)
		if res.Status != 159 || got != rip || function != string(want) || offset != wantOffset {
			t.Errorf("%s: status %d, %q; want %s+%#x", what, res.Status, res.Stderr, want, wantOffset)
		}
		if function != "" {
			named++
		}
	}
	if named < 20 || named == len(cases) {
		t.Errorf("%d of %d were named", named, len(cases))
	}
}

// TestReporterNamesMalformed has tables that must not be taken along: the guest
// starts all the same, and its report is as without.
func TestReporterNamesMalformed(t *testing.T) {
	u, rip := forbiddenProbe(t)
	plain := u.Image
	good := withTables(plain, []symbol{{1, 2, 0, 1, rip, 9}}, "\x00main\x00", section{Type: progbits, Flags: exec, Addr: rip, Size: 9})
	at := binary.LittleEndian.Uint64(good[40:])
	le := binary.LittleEndian
	for what, patch := range map[string]func(b []byte) []byte{
		"section headers past the end": func(b []byte) []byte { return b[:len(b)-1] },
		"headers nowhere":              func(b []byte) []byte { le.PutUint64(b[40:], ^uint64(0)); return b },
		"many sections":                func(b []byte) []byte { le.PutUint16(b[60:], 0xffff); return b },
		"odd sections":                 func(b []byte) []byte { le.PutUint16(b[58:], 63); return b },
		"no names":                     func(b []byte) []byte { le.PutUint32(b[at+2*64+40:], 9); return b },
		"names of another kind":        func(b []byte) []byte { le.PutUint32(b[at+2*64+40:], 1); return b },
		"symbols past the end":         func(b []byte) []byte { le.PutUint64(b[at+2*64+24:], uint64(len(b))); return b },
		"symbols wrap":                 func(b []byte) []byte { le.PutUint64(b[at+2*64+24:], ^uint64(0)-8); return b },
		"symbols without end":          func(b []byte) []byte { le.PutUint64(b[at+2*64+32:], ^uint64(0)); return b },
		"names without end":            func(b []byte) []byte { le.PutUint64(b[at+3*64+32:], 1<<40); return b },
		"no symbols":                   func(b []byte) []byte { le.PutUint64(b[at+2*64+32:], 0); return b },
	} {
		u.Image = patch(slices.Clone(good))
		r := u.run(t)
		if got, function, _ := name(t, r.Stderr); r.Status != 159 || got != rip || function != "" {
			t.Errorf("%s: %+v", what, r)
		}
	}
	u.Image, u.QuietFaults = good, true
	check(t, u.run(t), 159, "", "")
}

// TestSpaceWithSymbols finds the tables a page past the end of guest memory,
// which the guest can read and not write, and nothing around them.
func TestSpaceWithSymbols(t *testing.T) {
	const from, to = end - 2*image.PageSize, end + 8*image.PageSize
	u := dumpingProbe(t, from, to)
	names := "\x00" + strings.Repeat("x", 5000)
	u.Image = withTables(u.Image, []symbol{{1, 2, 0, 1, text, 9}}, names, section{Type: progbits, Flags: exec, Addr: text, Size: 9})
	dump := dumpSpace(t, u, from, to)
	for at := uint64(from); at < to; at += image.PageSize {
		mapped := at < end || at >= end+image.PageSize && at < end+5*image.PageSize // symbols, two of names, sections
		if (dump[at] != nil) != mapped {
			t.Errorf("page %#x: mapped %v, want %v", at, dump[at] != nil, mapped)
		}
	}
	if page := dump[end+2*image.PageSize]; !strings.HasPrefix(names, string(page)) {
		t.Errorf("the names are %.40q", page)
	}
	for page := uint64(end); page <= end+5*image.PageSize; page += image.PageSize {
		store := append(mov(rdi, page), 0xc6, 0x07, 1) // mov byte [rdi], 1
		w := probe(t, func(p *guests.Probe) { execute(p, store) })
		w.Image = withTables(w.Image, []symbol{{1, 2, 0, 1, text, 9}}, names, section{Type: progbits, Flags: exec, Addr: text, Size: 9})
		if r := w.run(t); r.Status != 139 || !strings.Contains(r.Stderr, fmt.Sprintf("memory fault at address %#x;", page)) {
			t.Errorf("a write to page %#x: %+v", page, r)
		}
	}
}
