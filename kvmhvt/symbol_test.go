package kvmhvt

import (
	"os"
	"strings"
	"testing"

	"gocat/internal/guests"
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
	var l line
	if got := l.symbol(self, img.Entry+1).string(); got != " in _start+0x1" {
		t.Errorf("the entry is%q", got)
	}
	l.n = 0
	if got := l.symbol(self, 5).string(); got != "" {
		t.Errorf("address 5 is%q", got)
	}
	r := runTender(t, solo5Guest(t, "xnow"))
	if !strings.Contains(r.stderr, " in solo5_app_main+0x") {
		t.Errorf("%+v", r)
	}
}

// TestSymbolShrunk has a guest fault whose image has become shorter since it was
// started: the symbols are gone, and the message is not.
func TestSymbolShrunk(t *testing.T) {
	p := guests.NewProbe(image.HVT)
	p.Do(p.Puts("ready\n"))
	p.Hypercall(hcPoll, scratch, guests.N(500_000_000))
	p.Do(p.Store64(guests.N(image.MinAddr), guests.N(1))) // its text
	b, err := p.Image()
	path := write(t, append(b, make([]byte, 1<<20)...), err) // so that the mapping has more than a page
	cmd, errs := start(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	wait(t, cmd)
	if exitStatus(cmd) != 1 || !strings.Contains(errs.String(), "translation fault") || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("status %d, %q", exitStatus(cmd), errs)
	}
}
