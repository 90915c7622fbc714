package kvmhvt

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/guest"
	"gocat/internal/image"
)

func TestSymbol(t *testing.T) {
	self, err := os.ReadFile(solo5Guest(t, "exception"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := image.Parse(strings.NewReader(string(self)))
	if err != nil {
		t.Fatal(err)
	}
	if got := Symbol(self, img.Entry+1); got != "_start+0x1" {
		t.Errorf("the entry is in %q", got)
	}
	if got := Symbol(self, 5); got != "" {
		t.Errorf("address 5 is in %q", got)
	}
	r := runTender(t, solo5Guest(t, "xnow"))
	if !strings.Contains(r.stderr, " in solo5_app_main+0x") {
		t.Errorf("%+v", r)
	}
}

// TestSymbolShrunk reads symbols from the mapping of a file that is no more.
func TestSymbolShrunk(t *testing.T) {
	fd := open(t, write(t, make([]byte, 8192), nil), unix.O_RDWR)
	b, err := unix.Mmap(fd, 0, 8192, unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	if got := Symbol(b, 0); got != "" {
		t.Errorf("got %q", got)
	}
}

// FuzzSymbol reads symbols from anything.
func FuzzSymbol(f *testing.F) {
	b, err := guest.Cat(image.HVT, guest.Simple)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:256], uint64(image.MinAddr))
	elf := make([]byte, 512) // one symbol table at 64, its header at 128
	store64(elf, elfShoff, 128)
	elf[elfShnum] = 2
	store32(elf, 128+sectionType, sectionSymbols)
	store64(elf, 128+sectionOffset, 64)
	store64(elf, 128+sectionLength, 48)
	store32(elf, 128+sectionLink, 1)
	store64(elf, 192+sectionOffset, 256)
	store64(elf, 192+sectionLength, 64)
	elf[64+symbolInfo] = symbolFunction
	store64(elf, 64+symbolValue, 0x1000)
	store64(elf, 64+symbolLength, 16)
	copy(elf[256:], "main\x00")
	if got := Symbol(elf, 0x100f); got != "main+0xf" {
		f.Errorf("got %q", got)
	}
	f.Add(elf, uint64(0x100f))
	f.Fuzz(func(t *testing.T, elf []byte, addr uint64) {
		if got := Symbol(elf, addr); len(got) > maxFunctionName+20 || strings.ContainsAny(got, "\n\x1b ") {
			t.Errorf("got %q", got)
		}
	})
}
