package audit

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// goPackage is a package as go list -json describes it: without its tests.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Module     *struct{ Path string }
}

// dependencies lists what a package is linked with, itself included.
func dependencies(t *testing.T, path string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,Module", path)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// sensitive are packages with which Go code leaves what the language promises,
// or calls on the kernel past the standard library.
var sensitive = []string{"unsafe", "syscall", "golang.org/x/sys/unix"}

// unsafe code, and why. Everything that gocat links and that is not here imports
// none of the sensitive packages.
var allowed = map[string]struct {
	imports string
	why     string
}{
	"gocat/cmd/gocat":         {"syscall golang.org/x/sys/unix", "standard output: closed pipes and full disks by error number; numbers of filters"},
	"gocat/guest":             {"unsafe", "copies the bundled guests' routines out of the program's own text"},
	"gocat/guest/kernel":      {"unsafe", "is the kernel of Go programs as unikernels: memory, threads and system calls by address"},
	"gocat/internal/bench":    {"syscall golang.org/x/sys/unix", "starts what it measures without package os, feeds and drains it by splice(2), reads its usage"},
	"gocat/internal/compare":  {"syscall golang.org/x/sys/unix", "makes inputs of every kind; how guests end"},
	"gocat/internal/device":   {"unsafe golang.org/x/sys/unix", "opens and checks what is attached; ioctls of taps; reads and writes with flags"},
	"gocat/internal/doctor":   {"golang.org/x/sys/unix", "asks the kernel what it can do"},
	"gocat/internal/early":    {"unsafe golang.org/x/sys/unix", "runs before the Go runtime, of which it makes what Go code needs; restores signals"},
	"gocat/internal/hvt":      {"golang.org/x/sys/unix", "starts again in a user namespace; the user's number"},
	"gocat/internal/isolate":  {"golang.org/x/sys/unix", "numbers of namespaces, limits and Landlock's rights; asks the kernel why a layer does not hold"},
	"gocat/internal/raw":      {"unsafe golang.org/x/sys/unix", "memory and system calls before there is a runtime"},
	"gocat/internal/peer":     {"syscall golang.org/x/sys/unix", "children that die with it; images in memory"},
	"gocat/internal/pty":      {"golang.org/x/sys/unix", "makes pseudoterminals and sets their modes"},
	"gocat/internal/selftest": {"unsafe syscall golang.org/x/sys/unix", "starts hostile guests, each with descriptors of its own, and looks at what they must not touch"},
	"gocat/internal/tender":   {"golang.org/x/sys/unix", "opens the image; writes messages without package os"},
	"gocat/internal/trace":    {"unsafe syscall golang.org/x/sys/unix", "ptrace and its registers; starts and waits for the traced process"},
	"gocat/kvmhvt":            {"unsafe syscall golang.org/x/sys/unix", "KVM's ioctls and shared memory; confinement of all threads"},
	"gocat/seccomp":           {"golang.org/x/sys/unix", "numbers and structures only: it makes no system call"},
	"gocat/spt":               {"unsafe golang.org/x/sys/unix", "the stub's machine code; becomes the guest by execveat"},
}

// TestSensitiveImports compares what gocat's own packages import with the list.
func TestSensitiveImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range dependencies(t, "gocat/cmd/gocat") {
		if p.Module == nil || p.Module.Path != "gocat" {
			continue
		}
		seen[p.ImportPath] = true
		a := allowed[p.ImportPath]
		for _, path := range sensitive {
			switch imports, may := slices.Contains(p.Imports, path), slices.Contains(strings.Fields(a.imports), path); {
			case imports && !may:
				t.Errorf("%s imports %s: do without, or say in this test why it must", p.ImportPath, path)
			case may && !imports:
				t.Errorf("%s may import %s and does not: take it off the list", p.ImportPath, path)
			}
		}
	}
	for path, a := range allowed {
		if !seen[path] || a.why == "" {
			t.Errorf("%s is not part of gocat, or has no reason to be on the list", path)
		}
	}
}

// heavy are packages whose initialisers, or those of what they import, take
// longer than a C tender takes to start. A name stands for those below it too.
var heavy = []string{
	"bufio", "compress", "crypto", "database", "debug", "embed", "encoding/json", "encoding/xml", "expvar", "flag", "go", "hash",
	"html", "log", "math/big", "math/rand", "mime", "net", "os/exec", "os/user", "regexp", "testing", "text",
	"github.com", "golang.org/x/net",
}

// needs are packages that only hvt guests are worth.
var needs = []string{"os/signal", "golang.org/x/arch", "gocat/kvmhvt"}

// TestStartImports shows that what runs a guest loads nothing heavy.
func TestStartImports(t *testing.T) {
	for path, forbidden := range map[string][]string{
		"gocat/internal/early":  slices.Concat(heavy, needs),
		"gocat/internal/tender": slices.Concat(heavy, needs),
		"gocat/internal/hvt":    heavy,
	} {
		for _, p := range dependencies(t, path) {
			for _, f := range forbidden {
				if p.ImportPath == f || strings.HasPrefix(p.ImportPath, f+"/") {
					t.Errorf("%s, with which guests start, depends on %s", path, p.ImportPath)
				}
			}
		}
	}
}
