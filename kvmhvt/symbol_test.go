package kvmhvt

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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
