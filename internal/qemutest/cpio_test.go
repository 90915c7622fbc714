package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// TestArchive compares an archive with the bytes that the format's description
// gives.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.file("/d/five", 0o640, []byte("12345"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	const zero = "00000000"
	want := "070701" + "00000001" + "000041ed" + zero + zero + "00000001" + zero + zero +
		zero + zero + zero + zero + "00000002" + zero + "d\x00" +
		"070701" + "00000002" + "000081a0" + zero + zero + "00000001" + zero + "00000005" +
		zero + zero + zero + zero + "00000007" + zero + "d/five\x00\x00\x00\x00" + "12345\x00\x00\x00" +
		"070701" + "00000003" + zero + zero + zero + "00000001" + zero + zero +
		zero + zero + zero + zero + "0000000b" + zero + "TRAILER!!!\x00\x00\x00\x00"
	if got := b.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestArchiveUnpacks has cpio unpack names and contents of every length modulo
// the padding's four.
func TestArchiveUnpacks(t *testing.T) {
	cpio, err := exec.LookPath("cpio")
	if err != nil {
		testhost.Skip(t, err.Error())
	}
	var b bytes.Buffer
	a := newArchive(&b)
	want := map[string]string{}
	for n := range 9 {
		name := filepath.Join("some", "dir", strings.Repeat("n", n+1))
		want[name] = strings.Repeat("x", 8-n)
		a.file("/"+name, 0o755, []byte(want[name]))
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cpio, "--extract", "--make-directories", "--quiet")
	cmd.Dir, cmd.Stdin = t.TempDir(), &b
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(cmd.Dir, name))
		if err != nil || string(got) != data {
			t.Errorf("%s: %q, %v, want %q", name, got, err, data)
		}
	}
	st, err := os.Stat(filepath.Join(cmd.Dir, "some/dir/n"))
	if err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// full accepts some writes.
type full struct{ writes int }

var errFull = errors.New("full")

func (f *full) Write(b []byte) (int, error) {
	if f.writes--; f.writes < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestArchiveErrors(t *testing.T) {
	for n := range 8 { // two entries of four writes
		a := newArchive(&full{n})
		a.file("x", 0o644, nil)
		if err := a.close(); !errors.Is(err, errFull) {
			t.Errorf("after %d writes: %v", n, err)
		}
	}
	a := newArchive(&bytes.Buffer{})
	a.host("x", filepath.Join(t.TempDir(), "missing"))
	if err := a.close(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}
