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
	"gocat/internal/guests":   {"unsafe", "copies the bundled guests' routines out of the program's own text"},
	"gocat/guest/kernel":      {"unsafe", "is the kernel of Go programs as unikernels: memory, threads and system calls by address"},
	"gocat/internal/bench":    {"syscall golang.org/x/sys/unix", "starts what it measures without package os, feeds and drains it by splice(2), reads its usage"},
	"gocat/internal/compare":  {"syscall golang.org/x/sys/unix", "makes inputs of every kind; how guests end"},
	"gocat/internal/device":   {"unsafe golang.org/x/sys/unix", "opens and checks what is attached; ioctls of taps; reads and writes with flags"},
	"gocat/internal/doctor":   {"golang.org/x/sys/unix", "asks the kernel what it can do"},
	"gocat/internal/isolate":  {"golang.org/x/sys/unix", "numbers of namespaces, limits and Landlock's rights; asks the kernel why a layer does not hold"},
	"gocat/internal/output":   {"syscall golang.org/x/sys/unix", "has the kernel resolve names of outputs: files by directory and name; the umask"},
	"gocat/internal/raw":      {"unsafe golang.org/x/sys/unix", "runs before the Go runtime: makes what Go code needs, restores signals, has memory and system calls"},
	"gocat/internal/peer":     {"syscall golang.org/x/sys/unix", "children that die with it; images in memory"},
	"gocat/internal/plan":     {"unsafe golang.org/x/sys/unix", "numbers of system calls; the stub's machine code; becomes a program by execveat"},
	"gocat/internal/pty":      {"golang.org/x/sys/unix", "makes pseudoterminals and sets their modes"},
	"gocat/internal/selftest": {"unsafe syscall golang.org/x/sys/unix", "starts hostile guests, each with descriptors of its own, and looks at what they must not touch"},
	"gocat/internal/serve":    {"syscall golang.org/x/sys/unix", "starts guests that die with it, with their frames; waits for them, ends them by signals"},
	"gocat/internal/tender":   {"syscall golang.org/x/sys/unix", "opens the image; writes messages without package os; starts the program again (execve)"},
	"gocat/internal/trace":    {"syscall golang.org/x/sys/unix", "tells of signals and errors by number; waits for the traced process"},

	// gocat-runtime.
	"gocat/internal/oci/bundle":    {"golang.org/x/sys/unix", "numbers of namespaces, limits and flags of mounts"},
	"gocat/internal/oci/checked":   {"golang.org/x/sys/unix", "opens files by O_PATH first, to look at what they are"},
	"gocat/internal/oci/command":   {"golang.org/x/sys/unix", "numbers of signals; waits for a container; who owns its state"},
	"gocat/internal/oci/container": {"unsafe syscall golang.org/x/sys/unix", "starts init in namespaces; passes descriptors; changes the user of one thread; kills by pidfd"},
	"gocat/internal/oci/root":      {"golang.org/x/sys/unix", "mounts, device nodes, the change of the root"},
	"gocat/internal/oci/state":     {"golang.org/x/sys/unix", "locks; the socket on which init waits"},
	"gocat/internal/oci/urunc":     {"golang.org/x/sys/unix", "opens files beneath an image's root (openat2)"},
	"gocat/internal/oci/wire":      {"golang.org/x/sys/unix", "makes taps; enters a network namespace"},

	// What looks into guests.
	"gocat/internal/confine":   {"unsafe syscall golang.org/x/sys/unix", "gives up capabilities in all threads of a helper process"},
	"gocat/internal/debug":     {"golang.org/x/sys/unix", "stops and waits for a guest's process; makes core files beneath an open directory"},
	"gocat/internal/gdb":       {"syscall golang.org/x/sys/unix", "numbers of signals only"},
	"gocat/internal/ptrace":    {"unsafe golang.org/x/sys/unix", "ptrace: registers, debug registers, what a system call is"},
	"gocat/internal/snapshot":  {"golang.org/x/sys/unix", "ptrace's stops; asks what a guest waits for through its own descriptor; polls its console"},
	"gocat/internal/symbols":   {"golang.org/x/sys/unix", "opens images without waiting for a FIFO's writer"},
	"gocat/internal/tended":    {"golang.org/x/sys/unix", "the socket to an hvt guest's tender; waits for it"},
	"gocat/internal/supervise": {"syscall golang.org/x/sys/unix", "starts a guest's process and passes signals on to it"},
	"gocat/kvmhvt":             {"unsafe golang.org/x/sys/unix", "KVM's ioctls and shared memory; confinement; signals"},
	"gocat/seccomp":            {"golang.org/x/sys/unix", "numbers and structures only: it makes no system call"},
	"gocat/spt":                {"unsafe golang.org/x/sys/unix", "the fault reporter's machine code; numbers of system calls"},

	// gocat-net, and what starts it.
	"gocat/internal/beside":          {"golang.org/x/sys/unix", "sees whether a file can be executed"},
	"gocat/internal/usernet":         {"golang.org/x/sys/unix", "the socket between a guest and its network"},
	"gocat/internal/usernet/gateway": {"unsafe syscall golang.org/x/sys/unix", "reads and writes frames; reads sockets without a buffer that waits; sockets for pings"},
	"gocat/internal/usernet/helper":  {"syscall golang.org/x/sys/unix", "opens published ports, passes descriptors, confines itself"},
}

// TestSensitiveImports compares what gocat's own packages import with the list.
func TestSensitiveImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range slices.Concat(dependencies(t, "gocat/cmd/gocat"), dependencies(t, "gocat/cmd/gocat-net"), dependencies(t, "gocat/cmd/gocat-runtime")) {
		if p.Module == nil || p.Module.Path != "gocat" || seen[p.ImportPath] {
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
	"bufio", "compress", "crypto", "database", "debug", "encoding/json", "encoding/xml", "expvar", "flag", "go", "hash",
	"html", "log", "math/big", "math/rand", "mime", "net", "os/exec", "os/user", "regexp", "testing", "text",
	"github.com", "golang.org/x/net",
}

// needs are packages that only hvt guests are worth.
var needs = []string{"os/signal", "golang.org/x/arch", "gocat/kvmhvt"}

// TestStartImports shows that what runs a guest loads nothing heavy.
func TestStartImports(t *testing.T) {
	for path, forbidden := range map[string][]string{
		"gocat/internal/raw":    slices.Concat(heavy, needs),
		"gocat/spt":             slices.Concat(heavy, needs),
		"gocat/internal/tender": heavy,
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
