package plan

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
	"gocat/seccomp"
)

// run writes a plan as an executable and runs it.
func run(t *testing.T, steps func(*Plan)) testhost.Result {
	t.Helper()
	p := New()
	steps(p)
	e, err := p.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plan")
	syscall.ForkLock.RLock()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err == nil {
		err = e.Write(To(int(f.Fd())))
		f.Close()
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return (&testhost.Command{Path: path}).Run(t)
}

func want(t *testing.T, r testhost.Result, status int, stderr string) {
	t.Helper()
	if r.Status != status || r.Stdout != "" || r.Stderr != stderr {
		t.Errorf("%+v, want status %d, %q", r, status, stderr)
	}
}

// Every error has the words that it has elsewhere in gocat.
func TestFailures(t *testing.T) {
	seen := map[unix.Errno]bool{}
	for _, f := range failures {
		if f.text != f.number.Error() || seen[f.number] {
			t.Errorf("%v: %q", f.number, f.text)
		}
		seen[f.number] = true
	}
}

// What a plan prints is what went wrong, in words where there are any.
func TestMessages(t *testing.T) {
	bind := []any{0, make([]byte, 16), 16}
	want(t, run(t, func(p *Plan) { p.Must("a", 0, unix.SYS_FCNTL, 77, unix.F_GETFD) }), 1, "gocat: a: bad file descriptor\n")
	want(t, run(t, func(p *Plan) { p.Must(Hint("a", "do b"), 0, unix.SYS_FCNTL, 77, unix.F_GETFD) }), 1, "gocat: a: bad file descriptor; do b\n")
	want(t, run(t, func(p *Plan) { p.Must("a", 0, unix.SYS_BIND, bind...) }), 1, "gocat: a: error 88\n") // ENOTSOCK
	want(t, run(t, func(p *Plan) { p.Must(Hint("a", "do b"), 0, unix.SYS_BIND, bind...) }), 1, "gocat: a: error 88; do b\n")
	// A result that is no error has no words.
	want(t, run(t, func(p *Plan) { p.Must(Hint("a", "do b"), 77, unix.SYS_DUP, 1) }), 1, "gocat: a\n")
	want(t, run(t, func(p *Plan) { p.Status = 125; p.Must("a", 0, unix.SYS_CLOSE, 77) }), 125, "gocat: a: bad file descriptor\n")
	want(t, run(t, func(p *Plan) { p.Must("a", 1, unix.SYS_DUP3, 2, 1); p.Try(unix.SYS_EXIT_GROUP, 3) }), 3, "")
}

// TestDiffer compares words in memory.
func TestDiffer(t *testing.T) {
	for _, c := range []struct{ a, b, mask, want uint64 }{
		{1, 1, Exact, 0}, {1, 2, Exact, 1}, {1, 3, 1, 0}, {0, 1 << 63, Exact, 1}, {Exact, 0, Exact, 1}, {Exact, 0, 0, 0},
	} {
		want(t, run(t, func(p *Plan) {
			p.Must("differ", c.want, Differ, p.Store(Words(c.a)), Words(c.b), c.mask)
			p.Try(unix.SYS_EXIT_GROUP, 7)
		}), 7, "")
	}
}

// Each call that a plan ends with a message about has a name, which is the kernel's.
func TestCallNames(t *testing.T) {
	calls := regexp.MustCompile(`\.(?:Must|Succeed)\([^\n]*,\s*unix\.SYS_(\w+)`)
	named := map[string]bool{}
	for _, dir := range []string{".", "../isolate", "../../spt"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range calls.FindAllSubmatch(source, -1) {
				named[strings.ToLower(string(m[1]))] = true
			}
		}
	}
	if len(named) < 15 {
		t.Fatalf("only %v", named)
	}
	for name := range named {
		nr, known := seccomp.SyscallNumber(name)
		if !known || callName(uint64(nr)) != name {
			t.Errorf("%s has no name", name)
		}
	}
	for nr := range uint32(1000) {
		if name := callName(uint64(nr)); name != "" && name != seccomp.SyscallName(nr) {
			t.Errorf("%d is %q", nr, name)
		}
	}
}
