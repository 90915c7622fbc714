package image

import (
	"bytes"
	"math/big"
	"testing"

	"gocat/internal/abi"
)

// tallyReader counts the bytes asked of it: what a parser allocates is what it
// reads into.
type tallyReader struct {
	r              *bytes.Reader
	total, largest int
}

func (c *tallyReader) ReadAt(b []byte, off int64) (int, error) {
	c.total += len(b)
	c.largest = max(c.largest, len(b))
	return c.r.ReadAt(b, off)
}

// tiny is an image of a few hundred bytes, for a fuzzer to work on.
func tiny(target Target) Spec {
	return Spec{
		Target: target, Version: 2, Entry: 0x100800,
		Segments: []SpecSegment{
			{Vaddr: 0x100800, Data: []byte{0xf4}, Prot: R | X},
			{Vaddr: 0x101801, Data: []byte{1}, Memsz: 0x1000, Prot: R | W},
		},
		Manifest: Manifest{{Type: Reserved}, {Name: "a", Type: Net}, {Name: "b", Type: Block}},
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []Spec{tiny(HVT), tiny(SPT), hello(HVT)} {
		b := mustEncode(f, s)
		f.Add(b)
		f.Add(b[:len(b)-1])
		for _, patch := range []func(b []byte){
			func(b []byte) { set(b, 4, pAlign, 1<<63) },
			func(b []byte) { set(b, 4, pMemsz, ^uint64(0)) },
			func(b []byte) { set(b, phMFT, pFilesz, 13) },
			func(b []byte) { content(b, phMFT)[4] = 1 },
			func(b []byte) { set(b, phABI, pOffset, ^uint64(0)>>1) },
			func(b []byte) { content(b, phMFT)[noteHeaderSize+abi.NoteMFT1Pad+4] = 64 },
		} {
			c := bytes.Clone(b)
			patch(c)
			f.Add(c)
		}
		f.Add(withSymbols(b, testSymbols))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &tallyReader{r: bytes.NewReader(b)}
		m, err := Parse(r)
		if r.total > 20<<10 {
			t.Fatalf("Parse read %d bytes", r.total)
		}
		if err == nil {
			checkInvariants(t, b, m)
			checkTables(t, b, m)
		} else if m != nil || !printable(err.Error()) {
			t.Fatalf("image %v, error %q", m, err)
		}
	})
}

// checkTables has tables that are the file's, and no more than is taken along.
func checkTables(t *testing.T, b []byte, m *Image) {
	tables, ok := m.Tables(bytes.NewReader(b))
	if !ok {
		return
	}
	total := uint64(0)
	for _, r := range []Range{tables.Symbols, tables.Strings, tables.Sections} {
		if r.Size == 0 || r.Offset+r.Size < r.Offset || r.Offset+r.Size > uint64(len(b)) {
			t.Fatalf("%+v of %d bytes", tables, len(b))
		}
		total += r.Size
	}
	if total > maxTables {
		t.Fatalf("%+v are %d bytes", tables, total)
	}
}

// printable says whether s is fit for one line on a terminal.
func printable(s string) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

func FuzzParseManifest(f *testing.F) {
	m := hello(SPT).Manifest
	b := m.AppendTo(nil)
	f.Add(b)
	f.Add(b[:len(b)-abi.EntrySize])
	f.Add(rawManifest(1, 1, rawEntry("", Reserved)))
	f.Add(rawManifest(1, 2, rawEntry("", Reserved), rawEntry("\x1b[2J", Net)))
	f.Add(rawManifest(1, 1<<32-1))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseManifest(b)
		if err == nil {
			checkManifest(t, m)
		} else if m != nil || !printable(err.Error()) {
			t.Fatalf("manifest %v, error %q", m, err)
		}
	})
}

func FuzzFunctionAt(f *testing.F) {
	b := withSymbols(mustEncode(f, tiny(HVT)), testSymbols)
	for _, addr := range []uint64{0, 0x100010, 0x100140, 0x100200, 0x103010, ^uint64(0)} {
		f.Add(b, addr)
	}
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		name, off := FunctionAt(b, addr)
		if off > addr || name == nil && off != 0 || len(name) > maxSymbol || !printable(string(name)) {
			t.Fatalf("%#x is %q+%#x", addr, name, off)
		}
	})
}

// FuzzSegments compares Parse with a model of Solo5's elf_load in unbounded
// integers, on an image of two segments.
func FuzzSegments(f *testing.F) {
	const page = uint64(PageSize)
	f.Add(uint64(0x100800), uint64(1), uint64(1), page, uint64(0x101801), uint64(1), uint64(0x1000), page, uint8(5), uint8(6), uint64(0x100800))
	f.Add(uint64(0x100000), uint64(1), page, uint64(1), uint64(0x101000), uint64(1), page, uint64(8), uint8(5), uint8(6), uint64(0x100800))
	f.Add(uint64(0x100000), uint64(1), page, page, ^uint64(0)-0x1fff, uint64(1), uint64(0x1001), page, uint8(5), uint8(6), uint64(0x100000))
	f.Add(uint64(0x100000), uint64(1), page, page, uint64(0x800000), uint64(1), uint64(2), uint64(1<<21), uint8(5), uint8(7), uint64(0x100000))
	f.Add(uint64(1<<63), uint64(1), page, uint64(1<<63), uint64(1<<63), uint64(1), page, uint64(1<<63), uint8(5), uint8(6), uint64(1<<63))
	f.Fuzz(func(t *testing.T, va1, fs1, ms1, al1, va2, fs2, ms2, al2 uint64, fl1, fl2 uint8, entry uint64) {
		b := mustEncode(t, tiny(SPT))
		le.PutUint64(b[24:], entry)
		phdrs := []phdr{
			{vaddr: va1, filesz: fs1, memsz: ms1, align: al1, flags: uint32(fl1)},
			{vaddr: va2, filesz: fs2, memsz: ms2, align: al2, flags: uint32(fl2)},
		}
		for i, p := range phdrs {
			ph := phText + i
			set(b, ph, pOffset, 0)
			set(b, ph, pVaddr, p.vaddr)
			set(b, ph, pFilesz, p.filesz)
			set(b, ph, pMemsz, p.memsz)
			set(b, ph, pAlign, p.align)
			le.PutUint32(field(b, ph, pFlags), p.flags)
		}
		m, err := Parse(bytes.NewReader(b))
		if err == nil {
			checkInvariants(t, b, m)
		}
		if want := modelLoads(phdrs, entry, uint64(len(b))); want != (err == nil) {
			t.Fatalf("model says %v, Parse %v: %+v", want, err, phdrs)
		}
	})
}

// modelLoads says whether the rules admit phdrs in a file of the given size.
func modelLoads(phdrs []phdr, entry, fileSize uint64) bool {
	integer := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	last, space := integer(MinAddr), new(big.Int).Lsh(big.NewInt(1), 64)
	entryOK := false
	for _, p := range phdrs {
		if p.filesz == 0 && p.memsz == 0 {
			continue
		}
		if p.align == 0 || p.filesz > p.memsz || p.filesz > fileSize || p.flags&3 == 3 {
			return false
		}
		power := false
		for bit := range 64 {
			power = power || p.align == 1<<bit
		}
		if !power {
			return false
		}
		align := integer(p.align)
		start := integer(p.vaddr)
		start.Div(start, align).Mul(start, align)
		end := new(big.Int).Add(integer(p.vaddr), integer(p.memsz))
		end.Add(end, new(big.Int).Sub(align, big.NewInt(1))).Div(end, align).Mul(end, align)
		for _, v := range []*big.Int{start, end} {
			if new(big.Int).Mod(v, big.NewInt(PageSize)).Sign() != 0 {
				return false
			}
		}
		if start.Cmp(last) < 0 || end.Cmp(space) >= 0 {
			return false
		}
		if e := integer(entry); p.flags&1 != 0 && e.Cmp(start) >= 0 && e.Cmp(end) < 0 {
			entryOK = true
		}
		last = end
	}
	return entryOK
}
