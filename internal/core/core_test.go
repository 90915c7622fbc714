package core

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"gocat/internal/image"
	"gocat/internal/x86"
)

// memory is a guest of a few regions.
func memory() (*Guest, map[uint64]byte) {
	contents := map[uint64]byte{0x100000: 1, 0x102fff: 2, 0x200000: 3, 0x3ff000: 4}
	touched := func(addr uint64) bool { return contents[addr] != 0 || contents[addr+0xfff] != 0 }
	g := &Guest{
		PID: 7, Name: "guest", Signal: 11, AVX: true, Registers: &x86.Registers{RIP: 0x100010},
		Regions: []Region{
			{Start: 0x100000, End: 0x103000, Prot: image.R | image.X},
			{Start: 0x200000, End: 0x400000, Prot: image.R | image.W, Touched: touched},
			{Start: 0x400000, End: 0x401000, Prot: image.R}, // cannot be read
		},
		Read: func(addr uint64, b []byte) int {
			n := 0
			for ; n < len(b) && addr+uint64(n) < 0x400000; n++ {
				b[n] = contents[addr+uint64(n)]
			}
			return n
		},
	}
	return g, contents
}

func TestWrite(t *testing.T) {
	g, contents := memory()
	path := filepath.Join(t.TempDir(), "core")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Write(f, g, 0); err != nil {
		t.Fatal(err)
	}
	e, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	if e.Type != elf.ET_CORE || e.Machine != elf.EM_X86_64 {
		t.Errorf("%v for %v", e.Type, e.Machine)
	}
	covered, stored := uint64(0), uint64(0)
	for _, p := range e.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		covered += p.Memsz
		stored += p.Filesz
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil && p.Filesz > 0 {
			t.Fatal(err)
		}
		for addr, want := range contents {
			if i := addr - p.Vaddr; i < p.Memsz {
				if i >= p.Filesz || b[i] != want {
					t.Errorf("at %#x not what the guest has", addr)
				}
				delete(contents, addr)
			}
		}
	}
	if covered != 0x3000+0x200000+0x1000 || stored != 0x3000+2*0x1000+0x1000 || len(contents) > 0 {
		t.Errorf("%#x bytes covered, %#x stored, missing %v", covered, stored, contents)
	}
}

func TestLimit(t *testing.T) {
	g, _ := memory()
	var w bytes.Buffer
	if err := Write(sink{&w}, g, 0x5000); !errors.Is(err, ErrTooLarge) || w.Len() > 0 {
		t.Errorf("%v, and %d bytes", err, w.Len())
	}
}

// TestManySegments has more holes than an ELF file has room for segments.
func TestManySegments(t *testing.T) {
	g, _ := memory()
	g.Regions = []Region{{Start: 0, End: 200000 * image.PageSize, Prot: image.R, Touched: func(addr uint64) bool { return addr>>12&1 != 0 }}}
	if n := len(g.segments()); n > maxSegments {
		t.Errorf("%d segments", n)
	}
}

// sink fails a test that writes past what it should.
type sink struct{ *bytes.Buffer }

func (s sink) WriteAt(b []byte, _ int64) (int, error) { return s.Write(b) }
