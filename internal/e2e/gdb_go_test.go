package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// looks are commands for a debugger that has stopped a Go program in its own code.
var looks = []string{"backtrace", "info args", "print *a", "print n", "up", "info locals", "down", "print 'main.total'", "list", "ptype a"}

// marked are commands, each after a line of its own that tells of it.
func marked(commands []string) (all []string) {
	for _, c := range commands {
		all = append(all, "echo \\n== "+c+"\\n", c)
	}
	return append(all, "echo \\n== \\n")
}

// unaddressed is what a debugger has shown for marked commands, without what differs from
// process to process: addresses, and values of variables before they have one.
func unaddressed(out string) string {
	first, last := strings.Index(out, "\n== "), strings.LastIndex(out, "\n== \n")
	if first < 0 || last < first {
		return ""
	}
	return regexp.MustCompile(`0x[0-9a-f]+|\b[0-9]{5,}\b`).ReplaceAllString(out[first:last], "N")
}

// TestGDBGo has gdb show of a Go program what it shows of the same one as a process
// of the host's: lines, stack and variables. Then it panics.
func TestGDBGo(t *testing.T) {
	testhost.Slow(t)
	needGDB(t)
	const pkg, flags = "./testdata/debug/account", "all=-N -l"
	native := filepath.Join(t.TempDir(), "native")
	if out, err := exec.Command("go", "build", "-gcflags="+flags, "-o", native, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	stop := []string{"handle SIGURG nostop noprint pass", "break main.go:19", "continue"}
	session := &session{image: native}
	out := session.run(t, append([]string{"set startup-with-shell off", "starti"}, append(stop, append(marked(looks), "kill")...)...)...)
	want := unaddressed(out)
	if !strings.Contains(want, "alice") || !strings.Contains(want, "main.main () at ") {
		t.Fatalf("of the process itself gdb shows %s", out)
	}
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			image := goImage(t, target, pkg, "--debug", "--gcflags="+flags)
			s := startDebugged(t, image, []string{"--mem=64"})
			rest := []string{"delete", "handle SIGSEGV nostop noprint pass", "break runtime.fatalpanic", "continue", "backtrace", "continue"}
			out := s.gdb(t, append(append(stop, marked(looks)...), rest...)...)
			if got := unaddressed(out); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			wantMatch(t, out, `runtime\.fatalpanic \(`, `runtime\.gopanic \(`, `runtime\.sigpanic \(`,
				`main\.add \(a=0x[0-9a-f]+, n=[0-9]+.*account/main\.go:1[89]\n`, `main\.main \(\) at .*account/main\.go:33\n`, `exited with code 02`)
			got := testhost.Status(s.guest.Wait())
			if said := testhost.Contents(t, s.stdout); got != 2 || !strings.HasPrefix(said, "1\n3\n6\npanic: runtime error: invalid memory address") {
				t.Errorf("status %d, output %q", got, said)
			}
		})
	}
}

// TestCoreGo has a Go program whose crash leaves a core file, in which its waiting
// goroutines and the values of its variables are.
func TestCoreGo(t *testing.T) {
	testhost.Slow(t)
	needGDB(t)
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			image := goImage(t, target, "./testdata/debug/account", "--debug")
			core := dumped(t, image, 134, []string{"--mem=64"}, "crash")
			wantMatch(t, debugCore(t, image, core, "print 'main.total'", "backtrace"),
				`terminated with signal SIGABRT`, `= 6\n`, `gocatGate`)
		})
	}
}
