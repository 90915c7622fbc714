package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	cat := filepath.Join(dir, "cat")
	gocat(t, "seal", "-o", cat).wantSuccess(t)
	info, err := os.Stat(cat)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o755 {
		t.Errorf("mode %v, want -rwxr-xr-x", info.Mode())
	}
	data := random(1<<20 + 1)
	if r := (call{program: cat, stdin: bytes.NewReader(data)}).run(t).wantSuccess(t); r.stdout != string(data) {
		t.Errorf("%d bytes in, %d out", len(data), len(r.stdout))
	}
	// Its arguments are appended to the command line.
	if r := (call{program: cat, args: []string{"--nonsense"}}).run(t); r.status != 64 || !strings.Contains(r.stdout, "'--nonsense'") {
		t.Errorf("status %d, stdout %q", r.status, r.stdout)
	}
	// Again, over the first one, with other options.
	gocat(t, "seal", "--output="+cat, "--guest=simple", "--mem", "4").wantSuccess(t)
	if r := (call{program: cat, stdin: strings.NewReader("again")}).run(t).wantSuccess(t); r.stdout != "again" {
		t.Errorf("%q", r.stdout)
	}
	wantFiles(t, dir, "cat")

	if r := gocat(t, "seal", "-o", "-", "--guest=simple", "--mem=4").wantSuccess(t); !strings.HasPrefix(r.stdout, "\x7fELF") {
		t.Errorf("-o -: %.10q", r.stdout)
	}
}

// A sealed guest opens block devices by name, and fixes their size.
func TestSealBlock(t *testing.T) {
	dir := t.TempDir()
	disk, sealed := filepath.Join(dir, "disk"), filepath.Join(dir, "sealed")
	if err := os.WriteFile(disk, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	gocat(t, "seal", "-o", sealed, "--block=b="+disk, kernel(t, exiting(7, image.Entry{Name: "b", Type: image.Block})), "arg").wantSuccess(t)
	if r := (call{program: sealed}).run(t); r.status != 7 || r.stderr != "" {
		t.Errorf("status %d, stderr %q", r.status, r.stderr)
	}
	if err := os.Truncate(disk, 4096); err != nil {
		t.Fatal(err)
	}
	call{program: sealed}.run(t).wantError(t, "gocat", "is no longer 8192 bytes long")
	if err := os.Remove(disk); err != nil {
		t.Fatal(err)
	}
	call{program: sealed}.run(t).wantError(t, "gocat", "could not open "+disk)
}

func TestSealOutput(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	// A failure leaves the old file and nothing else.
	call{args: []string{"seal", "-o", link, "--eof=again"}}.run(t).wantError(t, "gocat", "--eof=again")
	if b, err := os.ReadFile(target); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	wantFiles(t, dir, "link", "target")
	// A link is followed.
	gocat(t, "seal", "-o", link).wantSuccess(t)
	if b, err := os.ReadFile(target); err != nil || !bytes.HasPrefix(b, []byte("\x7fELF")) {
		t.Errorf("%.10q, %v", b, err)
	}
	wantFiles(t, dir, "link", "target")

	gocat(t, "seal", "-o", dir).wantError(t, "gocat", "is a directory")
	gocat(t, "seal", "-o", dir+"/missing/cat").wantError(t, "gocat", "no such file or directory")
	gocat(t, "seal", "-o", "/proc/cat").wantError(t, "gocat", "cannot write /proc/cat")
	gocat(t, "seal", "-o", "/dev/full").wantError(t, "gocat", "no space left on device")
	gocat(t, "seal", "-o", "/dev/null").wantSuccess(t)
	var st unix.Stat_t
	if err := unix.Stat("/dev/null", &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Fatalf("/dev/null has become %#o, %v", st.Mode, err)
	}
}
