package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

func TestSeal(t *testing.T) {
	dir := t.TempDir()
	cat := filepath.Join(dir, "cat")
	for umask, want := range map[int]os.FileMode{0o077: 0o700, 0o022: 0o755} {
		os.Remove(cat) // an older file gives the new one its mode
		old := unix.Umask(umask)
		gocat(t, "seal", "-o", cat).wantSuccess(t)
		unix.Umask(old)
		info, err := os.Stat(cat)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("umask %o: mode %v, want %v", umask, info.Mode(), want)
		}
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

// A signal while the file is being written leaves nothing behind.
func TestSealInterrupted(t *testing.T) {
	spec := exiting(0)
	const ph = 64 // Encode's first PT_LOAD is among the headers that follow
	image := encode(t, spec)
	for at := ph; ; at += 56 {
		if binary.LittleEndian.Uint32(image[at:]) == 1 {
			binary.LittleEndian.PutUint64(image[at+32:], 1<<30) // p_filesz
			binary.LittleEndian.PutUint64(image[at+40:], 1<<30) // p_memsz
			break
		}
	}
	huge := file(t, "huge.spt", image)
	if err := os.Truncate(huge, 2<<30); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// A busy host may not let the test run before all is written: then once more.
	for try := range 10 {
		cmd := exec.Command(program, "seal", "--mem=2048", "-o", dir+"/sealed", huge)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for !testhost.Ended(cmd.Process.Pid) {
			if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
				break
			}
		}
		cmd.Process.Signal(unix.SIGTERM)
		if cmd.Wait() == nil && try < 9 {
			os.Remove(dir + "/sealed")
			continue
		}
		if cmd.ProcessState.ExitCode() != 128+int(unix.SIGTERM) {
			t.Errorf("%v, want exit status 143", cmd.ProcessState)
		}
		break
	}
	wantFiles(t, dir)
}

// A sealed guest finds its disk wherever it is started, and only its owner can read
// the arguments that it holds.
func TestSealedFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "disk"), make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	guest := kernel(t, exiting(3, image.Entry{Name: "storage", Type: image.Block}))
	r := call{args: []string{"seal", "-o", "sealed", "--block", "storage=disk", guest}, dir: dir}.run(t)
	r.wantSuccess(t)
	sealed := filepath.Join(dir, "sealed")
	if r := (call{program: sealed, dir: "/"}).run(t); r.status != 3 || r.stderr != "" {
		t.Errorf("started elsewhere: %+v", r)
	}
	if err := os.Remove(filepath.Join(dir, "disk")); err != nil {
		t.Fatal(err)
	}
	if r := (call{program: sealed, dir: "/"}).run(t); r.status != 125 || !strings.Contains(r.stderr, "could not open "+filepath.Join(dir, "disk")+": no such file or directory\n") {
		t.Errorf("without its disk: %+v", r)
	}
	old := unix.Umask(0)
	defer unix.Umask(old)
	plain := kernel(t, exiting(3))
	for args, want := range map[string]os.FileMode{"": 0o755, "secret": 0o700} {
		path := filepath.Join(dir, "mode"+args)
		gocat(t, append([]string{"seal", "-o", path, plain}, strings.Fields(args)...)...).wantSuccess(t)
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("arguments %q: mode %v, want %v: %v", args, st.Mode(), want, err)
		}
	}
}
