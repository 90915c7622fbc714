package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// A sealed hvt guest is an executable that needs no gocat, and starts before the
// Go runtime.
func TestSealHVT(t *testing.T) {
	needKVM(t)
	dir := t.TempDir()
	cat := filepath.Join(dir, "cat")
	gocat(t, "seal", "--backend=hvt", "--mem=2", "-o", cat).wantSuccess(t)
	for _, c := range []call{
		{program: cat, stdin: strings.NewReader("through\n")},
		withoutRuntime(call{program: cat, stdin: strings.NewReader("through\n")}),
		{program: "/bin/sh", args: []string{"-c", `exec "$0" 2>&-`, cat}, stdin: strings.NewReader("through\n")},
	} {
		if r := c.run(t); r.status != 0 || r.stdout != "through\n" || r.stderr != "" {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	// Its arguments go to the guest, whatever they look like; block devices are
	// opened by their own path, wherever it is started.
	p := guests.NewProbe(image.HVT, image.Entry{Name: "storage", Type: image.Block})
	p.Do(p.Exit(guests.N(63)))
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	kernel := file(t, "guest.hvt", b)
	if err := os.WriteFile(filepath.Join(dir, "disk"), make([]byte, 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(dir, "sealed")
	call{args: []string{"seal", "-o", sealed, "--mem=2", "--block=storage=disk", kernel, "a"}, dir: dir}.run(t).wantSuccess(t)
	for _, args := range [][]string{nil, {"run"}, {"--help"}, {"--mem=1", "b"}} {
		if r := (call{program: sealed, args: args, dir: "/"}).run(t); r.status != 63 || r.stdout+r.stderr != "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
	// What is wrong when it starts is one line.
	if err := os.Remove(filepath.Join(dir, "disk")); err != nil {
		t.Fatal(err)
	}
	if r := (call{program: sealed}).run(t); r.status != 125 || !strings.HasPrefix(r.stderr, "gocat: ") || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "no such file or directory") {
		t.Errorf("without its disk: %+v", r)
	}
	gocat(t, "seal", "-o", sealed, kernel).wantError(t, "gocat", "storage")
	gocat(t, "seal", "-o", sealed, "--backend=hvt", "--profile=strict").wantError(t, "gocat", "--profile")
}
