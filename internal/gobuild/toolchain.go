// Package gobuild compiles Go programs into Solo5 unikernel images with the
// installed, unmodified Go toolchain.
//
// The seam is the Linux system call interface. An overlay (go build -overlay)
// replaces each SYSCALL instruction of the runtime and of package syscall by a
// call of a gate, where the library kernel of package guest/kernel answers. The
// linker's result is checked and then written as an image.
package gobuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"gocat/guest/kernel"
)

// toolchain is the installed Go toolchain.
type toolchain struct {
	command         string // the go command
	goroot, version string
	release         release
	modcache        string // where downloaded modules are, and toolchains
	env             []string
	progress        *progress
	verbose         io.Writer // or nil
}

// release is a release of Go whose sources the overlay was tried on.
type release struct {
	name string
	raw  string // directory of the runtime's raw system calls, below GOROOT/src
}

var known = []release{
	{"go1.25", "internal/runtime/syscall"},
	{"go1.26", "internal/runtime/syscall/linux"},
	{"go1.27", "internal/runtime/syscall/linux"},
}

// environment is what a build needs, whatever the user's says: the target that
// the overlay is for, no cgo, and the oldest processors.
func environment() []string {
	return append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0")
}

// findToolchain asks the go command in PATH what it is, in directory dir: a
// go.mod there may choose another toolchain.
func findToolchain(ctx context.Context, dir string) (*toolchain, error) {
	t := &toolchain{command: "go", env: environment(), progress: new(progress)}
	out, err := t.run(ctx, dir, "env", "GOROOT", "GOVERSION", "GOMODCACHE")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("gocat build needs the Go toolchain, and there is no go command in PATH: https://go.dev/dl")
	}
	if err != nil {
		return nil, err
	}
	f := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	switch {
	case len(f) != 3:
		return nil, fmt.Errorf("go env printed %q, expected GOROOT, GOVERSION and GOMODCACHE", out)
	case f[2] == "":
		return nil, errors.New("the go command has no place for modules and its cache: set HOME, or GOPATH and GOCACHE")
	}
	t.goroot, t.version, t.modcache = f[0], f[1], f[2]
	t.release, err = releaseOf(t.version)
	return t, err
}

// releaseOf is the release that a version belongs to: go1.26, go1.26.8 and
// go1.26rc1 are of one. It refuses a release that is not known.
func releaseOf(version string) (release, error) {
	var names []string
	for _, r := range known {
		if rest, ok := strings.CutPrefix(version, r.name); ok && (rest == "" || rest[0] < '0' || rest[0] > '9') {
			return r, nil
		}
		names = append(names, r.name)
	}
	return release{}, fmt.Errorf("toolchain %s is not one of those that gocat build knows: %s", version, strings.Join(names, ", "))
}

// outsideModules returns t by another name, a link in directory dir, if it is one
// that the go command has downloaded: those lie among the modules, where the go
// command refuses overlays.
func (t *toolchain) outsideModules(dir string) (*toolchain, error) {
	if rest, inside := strings.CutPrefix(t.goroot, t.modcache); !inside || !strings.HasPrefix(rest, "/") {
		return t, nil
	}
	moved := *t
	moved.goroot = filepath.Join(dir, "goroot")
	moved.command = filepath.Join(moved.goroot, "bin", "go")
	moved.env = append(slices.Clip(t.env), "GOROOT="+moved.goroot, "GOTOOLCHAIN=local")
	return &moved, os.Symlink(t.goroot, moved.goroot)
}

// run runs the go command and returns its standard output. The error is what the
// command printed: a Failure if that is more than one line.
func (t *toolchain) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, t.command, args...)
	// So that it ends what it has started, and removes its temporary files.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = dir
	cmd.Env = t.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, io.MultiWriter(&stderr, t.progress)
	err := cmd.Run()
	if err == nil {
		if t.verbose != nil {
			t.verbose.Write(stderr.Bytes())
		}
		return stdout.Bytes(), nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return nil, err
	}
	return nil, failure(args[0], stderr.String(), err)
}

// Failure is what the go command said when it failed, in more than one line.
type Failure struct {
	Command  string // of the go command: build, list and so on
	Messages string // lines as it printed them, without those about downloads
}

func (f *Failure) Error() string { return "go " + f.Command + " failed: its messages are above" }

// failure is the error of a go command that printed messages and ended with err.
func failure(command, messages string, err error) error {
	if strings.Contains(messages, "GOCACHE is not defined and neither") {
		return errors.New("the go command has no place for its cache: set HOME, or GOPATH and GOCACHE")
	}
	var all, said []string // said leaves out names of packages
	for line := range strings.Lines(messages) {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "go: downloading ") {
			continue
		}
		all = append(all, line)
		if !strings.HasPrefix(text, "#") {
			said = append(said, text)
		}
	}
	switch len(said) {
	case 0:
		return fmt.Errorf("go %s: %w", command, err)
	case 1:
		return fmt.Errorf("go %s: %s", command, said[0])
	}
	return &Failure{command, strings.Join(all, "")}
}

// patch is a change of one file of the toolchain's sources.
type patch struct {
	file  string // below GOROOT/src
	old   *regexp.Regexp
	new   string
	sites int // how many places are expected
}

// instruction matches SYSCALL where it is an instruction of assembler source.
var instruction = regexp.MustCompile(`(?m)^([ \t]+)SYSCALL([ \t]*(//.*)?)$`)

// gateCall replaces it. CALL leaves the same registers alone as SYSCALL.
const (
	gateCall    = "CALL runtime·gocatGate(SB)"
	throughGate = "${1}" + gateCall + "${2}"
)

func patches(r release) []patch {
	line := func(s string) *regexp.Regexp { return regexp.MustCompile(`(?m)^\t` + s + ` = .*$`) }
	return []patch{
		{"runtime/sys_linux_amd64.s", instruction, throughGate, 40},
		{"runtime/time_linux_amd64.s", instruction, throughGate, 2},
		{"syscall/asm_linux_amd64.s", instruction, throughGate, 3},
		{r.raw + "/asm_linux_amd64.s", instruction, throughGate, 1},
		// Tables for 48 bits of addresses take 600 MB of address space, of
		// which a guest has none but its memory: 64 GiB are enough, in arenas
		// of 4 MiB instead of 64.
		{"runtime/malloc.go", line("heapAddrBits"), "	heapAddrBits = 36", 1},
		{"runtime/malloc.go", line("logHeapArenaBytes"), fmt.Sprintf("	logHeapArenaBytes = %d", kernel.LogArena), 1},
		{"runtime/malloc.go", line("arenaBaseOffset"), "	arenaBaseOffset = 0", 1},
		// For an arena Linux is asked for two, since one is hardly aligned there. The
		// kernel of the image aligns it, and there may be no room for two.
		{"runtime/mem.go", regexp.MustCompile(`(?m)^\tretries := 0\nretry:$`), `	if p := sysReserve(v, size, vmaName); p != nil {
		if uintptr(p)&(align-1) == 0 {
			return p, size
		}
		sysUnreserve(p, size)
	}
$0`, 1},
		// Memory that the collector is late for is not there, so a program that
		// allocates has to help it. On Linux it need not once the collector has
		// taken more than half of the time for a second; here only where little
		// is left. And the credit that it is given for helping may be hundreds
		// of megabytes when there is little left to mark, which other processors
		// do meanwhile; here it uses the memory up before anything else runs.
		{"runtime/mgclimit.go", regexp.MustCompile(`(?m)^\treturn l\.enabled\.Load\(\)$`),
			"	return l.enabled.Load() && gcController.heapMarked > uint64(gcController.memoryLimit.Load())/4*3", 1},
		{"runtime/mgcmark.go", regexp.MustCompile(`= gcController\.assistBytesPerWork\.Load\(\)`),
			"= min(gcController.assistBytesPerWork.Load(), 4)", 3},
	}
}

// apply returns the contents of the files that the patches change, by their
// paths below GOROOT/src. read reads a file by such a path.
func apply(patches []patch, version string, read func(string) ([]byte, error)) (map[string][]byte, error) {
	files := make(map[string][]byte)
	for _, p := range patches {
		src, ok := files[p.file]
		if !ok {
			var err error
			if src, err = read(p.file); err != nil {
				return nil, fmt.Errorf("toolchain %s: %w", version, err)
			}
		}
		if n := len(p.old.FindAllIndex(src, -1)); n != p.sites {
			return nil, fmt.Errorf("toolchain %s is not as gocat build knows it: %d places like %q in %s, expected %d",
				version, n, p.old, p.file, p.sites)
		}
		files[p.file] = p.old.ReplaceAll(src, []byte(p.new))
	}
	return files, nil
}

// source reads a file of the toolchain's sources.
func (t *toolchain) source(name string) ([]byte, error) {
	return os.ReadFile(filepath.Join(t.goroot, "src", filepath.FromSlash(name)))
}
