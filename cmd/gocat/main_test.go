package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"gocat/internal/image"
	"gocat/internal/tender"
	"gocat/internal/testhost"
)

// program is gocat, built once for all tests; links holds solo5-spt and
// solo5-hvt, links to it.
var program, links string

func TestMain(m *testing.M) {
	if os.Getenv(refuseVariable) != "" {
		refuseAndExec()
	}
	testhost.Main(m, func(dir string) error {
		program, links = filepath.Join(dir, "gocat"), filepath.Join(dir, "links")
		return errors.Join(os.Mkdir(links, 0o755),
			os.Symlink(program, filepath.Join(links, "solo5-spt")),
			os.Symlink(program, filepath.Join(links, "solo5-hvt")),
			os.Symlink(program, filepath.Join(links, elftoolName)))
	})
}

// buildsOrdinary makes gocat as go build builds it, without an early start.
var buildsOrdinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(program), "ordinary")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// call is one run of a program.
type call struct {
	program string // default: program
	dir     string
	stdin   io.Reader // an *os.File is inherited as it is, else a pipe; nil is /dev/null
	extra   []*os.File
	env     []string
	nobody  bool // as a user without privileges; t must run as root
	kvm     bool // with a /dev/kvm for everyone; only for without
	args    []string
}

// result is how it ended.
type result struct {
	stdout, stderr string
	status         int // 128 + signal if killed
	failure        int // status of what could not be done
}

// failure is the status with which the call must end if it cannot be done.
func (c call) failure() int {
	switch {
	case strings.HasPrefix(filepath.Base(c.program), "solo5-"):
		return 1
	case c.program == program && (len(c.args) == 0 || c.args[0] != "run" && c.args[0] != "trace" && c.args[0] != "tend"):
		return 1
	}
	return tender.NotStarted // also of a sealed guest
}

func (c call) run(t testing.TB) result {
	t.Helper()
	if c.program == "" {
		c.program = program
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(c.program, c.args...)
	cmd.Dir, cmd.Stdin, cmd.ExtraFiles = c.dir, c.stdin, c.extra
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if c.nobody {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v", c.program, c.args, err)
	}
	status := cmd.ProcessState.ExitCode()
	if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	return result{stdout.String(), stderr.String(), status, c.failure()}
}

// gocat runs gocat with args and no input.
func gocat(t testing.TB, args ...string) result {
	t.Helper()
	return call{args: args}.run(t)
}

// wantSuccess fails t unless r is a success without a word on standard error.
func (r result) wantSuccess(t testing.TB) result {
	t.Helper()
	if r.status != 0 || r.stderr != "" {
		t.Fatalf("status %d, stderr %q", r.status, r.stderr)
	}
	return r
}

// wantError fails t unless r is one line on standard error that begins with
// "PROG: " and contains want, nothing on standard output, and the status of a
// failure.
func (r result) wantError(t testing.TB, prog, want string) {
	t.Helper()
	oneLine := strings.Count(r.stderr, "\n") == 1 && strings.HasSuffix(r.stderr, "\n")
	if r.status != r.failure || r.stdout != "" || !oneLine || !strings.HasPrefix(r.stderr, prog+": ") || !strings.Contains(r.stderr, want) {
		t.Errorf("status %d, stdout %q, stderr %q; want status %d and one line %q", r.status, r.stdout, r.stderr, r.failure, prog+": ... "+want)
	}
}

// file makes a file in a directory of t's own.
func file(t testing.TB, name string, contents []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, contents, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// exiting is an image for spt that exits with the given status and declares
// the given devices.
func exiting(status byte, devices ...image.Entry) image.Spec {
	return image.Spec{
		Target: image.SPT, Version: 2, Entry: 0x100000,
		Segments: []image.SpecSegment{{
			Vaddr: 0x100000, Prot: image.R | image.X,
			Data: []byte{0xbf, status, 0, 0, 0, 0xb8, 231, 0, 0, 0, 0x0f, 0x05}, // mov $status,%edi; mov $231,%eax; syscall
		}},
		Manifest: append(image.Manifest{{Type: image.Reserved}}, devices...),
	}
}

func encode(t testing.TB, s image.Spec) []byte {
	t.Helper()
	b, err := image.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// kernel writes an image to a file.
func kernel(t testing.TB, s image.Spec) string {
	t.Helper()
	return file(t, "kernel.spt", encode(t, s))
}
