// Package gobuild compiles Go programs into Solo5 unikernel images with the
// installed, unmodified Go toolchain.
//
// The seam is the Linux system call interface. An overlay (go build -overlay)
// replaces each SYSCALL instruction of the runtime and of package syscall by a
// call of a gate, behind which the library kernel of package guest/kernel
// answers. What the linker makes of that is checked, and written anew as an
// image.
package gobuild

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// toolchain is the installed Go toolchain.
type toolchain struct {
	goroot, version string
	env             []string
}

// known are the releases whose sources the overlay was tried on.
var known = []string{"go1.25", "go1.26", "go1.27"}

// environment is what a build needs, whatever the user's says: the target that
// the overlay is for, no cgo, the oldest processors, and no flags of the user's
// that could change the result.
func environment() []string {
	return append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0", "GOEXPERIMENT=", "GOFLAGS=")
}

// findToolchain asks the go command in PATH what it is, in directory dir: a
// go.mod there may choose another toolchain.
func findToolchain(dir string) (*toolchain, error) {
	t := &toolchain{env: environment()}
	out, err := t.run(dir, "env", "GOROOT", "GOVERSION")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("gocat build needs the Go toolchain, and there is no go command in PATH: https://go.dev/dl")
	}
	if err != nil {
		return nil, err
	}
	f := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(f) != 2 {
		return nil, fmt.Errorf("go env printed %q, expected GOROOT and GOVERSION", out)
	}
	t.goroot, t.version = f[0], f[1]
	return t, checkVersion(t.version)
}

// checkVersion refuses a release that is not known: go1.26 is, and with it
// go1.26.8 and go1.26rc1.
func checkVersion(version string) error {
	for _, k := range known {
		if rest, ok := strings.CutPrefix(version, k); ok && (rest == "" || rest[0] < '0' || rest[0] > '9') {
			return nil
		}
	}
	return fmt.Errorf("toolchain %s is not one of those that gocat build knows: %s", version, strings.Join(known, ", "))
}

// run runs the go command and returns its standard output. The error is one
// line: the first that the command printed that says something.
func (t *toolchain) run(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = t.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return nil, err
	}
	return nil, fmt.Errorf("go %s: %s", args[0], summary(stderr.String(), err))
}

// summary is what matters of the go command's messages, in one line.
func summary(messages string, err error) string {
	first, more := "", 0
	for line := range strings.Lines(messages) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if first == "" {
			first = line
		} else {
			more++
		}
	}
	switch {
	case first == "":
		return err.Error()
	case more > 0:
		return fmt.Sprintf("%s (and %d more lines)", first, more)
	}
	return first
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

func patches() []patch {
	line := func(s string) *regexp.Regexp { return regexp.MustCompile(`(?m)^\t` + s + ` = .*$`) }
	return []patch{
		{"runtime/sys_linux_amd64.s", instruction, throughGate, 40},
		{"runtime/time_linux_amd64.s", instruction, throughGate, 2},
		{"syscall/asm_linux_amd64.s", instruction, throughGate, 3},
		{"internal/runtime/syscall/linux/asm_linux_amd64.s", instruction, throughGate, 1},
		// Tables for 48 bits of addresses take 600 MB of address space, of
		// which a guest has none but its memory: 64 GiB are enough, in arenas
		// of 4 MiB instead of 64.
		{"runtime/malloc.go", line("heapAddrBits"), "	heapAddrBits = 36", 1},
		{"runtime/malloc.go", line("logHeapArenaBytes"), "	logHeapArenaBytes = 22", 1},
		{"runtime/malloc.go", line("arenaBaseOffset"), "	arenaBaseOffset = 0", 1},
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
