package spt

import (
	"bytes"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// The page of the title holds the title and nothing else, and a guest that writes
// to it dies.
func TestTitle(t *testing.T) {
	const title = "gocat\x00run\x00--mem=2"
	for _, heap := range []bool{false, true} {
		u := dumpingProbe(t, titleBase, planBase)
		c := u.sealable(t)
		c.Title, c.ExecHeap = title, heap
		r := (&testhost.Command{Path: write(t, c)}).Run(t)
		if r.Status != 0 || r.Stderr != "" {
			t.Fatalf("status %d, stderr %q", r.Status, r.Stderr)
		}
		page := parseDump(t, r.Stdout, titleBase, planBase)[titleBase]
		if want := append([]byte(title), make([]byte, image.PageSize-len(title))...); !bytes.Equal(page, want) {
			t.Errorf("the page holds %q", bytes.TrimRight(page, "\x00"))
		}

		u = probe(t, func(p *guests.Probe) { p.Do(p.Store8(guests.N(titleBase), guests.N('x'))) })
		c = u.sealable(t)
		c.Title, c.ExecHeap = title, heap
		if r := (&testhost.Command{Path: write(t, c)}).Run(t); r.Status != 139 || !strings.Contains(r.Stderr, "memory fault at address 0x2f000") {
			t.Errorf("a guest that writes its title: %+v", r)
		}
	}
	u := probe(t, func(*guests.Probe) {})
	c := u.sealable(t)
	c.Title = strings.Repeat("x", MaxTitle+1)
	if _, err := Policy(c); err == nil || !strings.Contains(err.Error(), "title is 4096 bytes long: at most 4095") {
		t.Error(err)
	}
}
