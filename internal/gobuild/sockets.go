package gobuild

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gocat/guest"
)

// A program that uses sockets is linked with package gocat/guest/net, which
// answers them, and with the network stack that this needs. They become packages
// of the standard library, below socketsPath: so package net can depend on them,
// a program needs nothing in its go.mod for them, and a gVisor of its own, of
// whatever version, is another package.

const (
	socketsPath = "internal/gocat"
	socketsTag  = "gocat_net" // a build tag that is set in images with sockets
)

// moved are the modules that the stack is made of, by the prefix of their import
// paths, and where they are in an image.
var moved = []struct{ module, prefix, to string }{
	{"gvisor.dev/gvisor", "gvisor.dev/gvisor/pkg", socketsPath + "/gvisor"},
	{"github.com/google/btree", "github.com/google/btree", socketsPath + "/btree"},
	{"golang.org/x/time", "golang.org/x/time/rate", socketsPath + "/rate"},
}

// The versions of those modules and their checksums, as gocat's own go.mod and
// go.sum have them.
//
//go:embed sockets.mod
var socketsMod []byte

//go:embed sockets.sum
var socketsSum []byte

// constraint is what decides whether a file is of a package.
var constraint = regexp.MustCompile(`(?m)^//go:build .*\n(// \+build .*\n)*`)

// inline is a comment that the compiler does not know, and minds in the standard
// library.
var inline = regexp.MustCompile(`(?m)^//go:inline$`)

// changes are a repair, an improvement, and what the stack's sources cannot be among the
// standard library without. They must not depend on package net and need not on x/sys, and the go
// command assembles nothing whose directory an overlay alone has: for assembler
// there is Go that is for other processors.
var changes = []patch{
	{"gvisor/tcpip/tcpip.go", regexp.MustCompile(`(?m)^\t"net"\n`), "", 1},
	{"gvisor/tcpip/tcpip.go", regexp.MustCompile(`make\(net\.HardwareAddr,`), "make([]byte,", 1},
	{"gvisor/rand/rand.go", constraint, "", 1},
	{"gvisor/atomicbitops/atomicbitops_noasm.go", constraint, "", 1},
	{"gvisor/sync/runtime_other.go", constraint, "", 1},
	{"gvisor/sync/fence.go", regexp.MustCompile(`(?m)^func MemoryFenceReads\(\)$`), "//\n//go:noinline\nfunc MemoryFenceReads() {}", 1},
	// A window that is announced in units stays announced when less than a unit of it
	// is left. Refusing what is under way into that rest refuses all acknowledgements
	// after it too, and a server that sends while it receives stops for ever.
	{"gvisor/tcpip/transport/tcp/rcv.go", regexp.MustCompile(`scaledWindowSize << r\.RcvWndScale\n`), "min(r.rcvWnd, seqnum.Size(math.MaxUint16)<<r.RcvWndScale)\n", 1},
	// Acknowledgements go with answers (acks.go).
	{"gvisor/tcpip/transport/tcp/connect.go", regexp.MustCompile(`if e\.rcv\.RcvNxt != e\.snd\.MaxSentAck \{`), "if e.rcv.RcvNxt != e.snd.MaxSentAck && !e.ackLater() {", 1},
	{"gvisor/tcpip/transport/tcp/endpoint.go", regexp.MustCompile(`(?m)^type Endpoint struct \{$`), "type Endpoint struct {\n\tackWaits bool", 1},
}

// left are files of the stack that others stand for, or nothing.
var left = []string{
	"gvisor/tcpip/errors_linux.go", "gvisor/rand/rand_linux.go", "gvisor/bits/uint64_arch.go", "gvisor/bits/bits_template.go",
	"gvisor/atomicbitops/atomicbitops.go", "gvisor/sync/runtime_amd64.go",
	// Tests of encoding/json use package net, which must not depend on it.
	"gvisor/log/json.go", "gvisor/log/json_k8s.go",
}

// usesNet says whether packages could use sockets, as far as their imports tell.
func usesNet(pkgs []pkg) bool {
	return slices.ContainsFunc(pkgs, func(p pkg) bool {
		// What a tested package is below comes again, as "net [context.test]".
		path, _, _ := strings.Cut(p.ImportPath, " ")
		return path == "net"
	})
}

// makers are the functions without which nothing makes a socket.
var makers = []string{"syscall.Socket", "syscall.Socketpair", "golang.org/x/sys/unix.Socket", "golang.org/x/sys/unix.Socketpair"}

// addSockets returns the files that the overlay adds and changes for sockets, by
// their paths below GOROOT/src.
func (t *toolchain) addSockets(ctx context.Context) (map[string][]byte, error) {
	dirs, err := t.socketModules(ctx)
	if err != nil {
		return nil, err
	}
	files, err := apply(socketPatches, t.version, t.source)
	if err != nil {
		return nil, err
	}
	c := collector{t.context(), dirs, files, make(map[string]bool)}
	err = fs.WalkDir(guest.Net, "net", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := guest.Net.ReadFile(name)
		if err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(name, "net/std/"); ok {
			files[strings.TrimSuffix(rest, ".txt")] = b
			return nil
		}
		if strings.HasSuffix(name, "_test.go") || path.Base(name) == "kernel_host.go" {
			return nil
		}
		return c.add(name, b)
	})
	return files, err
}

// context is what decides which files a package has in an image.
func (t *toolchain) context() *build.Context {
	c := build.Default
	c.GOOS, c.GOARCH, c.CgoEnabled, c.BuildTags = "linux", "amd64", false, []string{imageTag, socketsTag}
	c.ReleaseTags = nil
	minor, _ := strconv.Atoi(strings.TrimPrefix(t.release.name, "go1."))
	for i := range minor {
		c.ReleaseTags = append(c.ReleaseTags, fmt.Sprintf("go1.%d", i+1))
	}
	return &c
}

// socketModules has the go command download the modules, verified, and returns
// their directories.
func (t *toolchain) socketModules(ctx context.Context) (map[string]string, error) {
	tmp, err := os.MkdirTemp("", "gocat-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	for name, b := range map[string][]byte{"go.mod": socketsMod, "go.sum": socketsSum} {
		if err := os.WriteFile(filepath.Join(tmp, name), b, 0o644); err != nil {
			return nil, err
		}
	}
	with := *t
	with.env = append(slices.Clip(t.env), "GOFLAGS=-mod=mod", "GOWORK=off")
	args := []string{"mod", "download", "-json"}
	for _, m := range moved {
		args = append(args, m.module)
	}
	out, err := with.run(ctx, tmp, args...)
	if err != nil {
		return nil, fmt.Errorf("the network stack for programs with sockets cannot be had: %w", err)
	}
	dirs := make(map[string]string)
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var m struct{ Path, Dir, Error string }
		if err := d.Decode(&m); err != nil {
			return nil, fmt.Errorf("go mod download: %w", err)
		}
		if m.Error != "" {
			return nil, fmt.Errorf("the network stack for programs with sockets cannot be had: %s", m.Error)
		}
		dirs[m.Path] = m.Dir
	}
	return dirs, nil
}

// collector gathers packages and those that they import.
type collector struct {
	context *build.Context
	dirs    map[string]string // of modules
	files   map[string][]byte // by path below GOROOT/src
	seen    map[string]bool   // import paths
}

// add takes a file of the path to below socketsPath, and the packages that it
// imports.
func (c *collector) add(to string, b []byte) error {
	for _, p := range changes {
		if p.file != to {
			continue
		}
		if n := len(p.old.FindAllIndex(b, -1)); n != p.sites {
			return fmt.Errorf("%s: %d places like %q, expected %d", to, n, p.old, p.sites)
		}
		b = p.old.ReplaceAll(b, []byte(p.new))
	}
	b = inline.ReplaceAll(b, nil)
	f, err := parser.ParseFile(token.NewFileSet(), to, b, parser.ImportsOnly)
	if err != nil {
		return err
	}
	for i := len(f.Imports) - 1; i >= 0; i-- { // from the end: the places before stay
		from, err := strconv.Unquote(f.Imports[i].Path.Value)
		if err != nil {
			return err
		}
		dir, path, ok := c.find(from)
		if from == "gocat/internal/abi" {
			path = numbersPath
		} else if !ok {
			continue
		} else if err := c.addPackage(dir, path); err != nil {
			return err
		}
		at, end := f.Imports[i].Path.Pos()-f.FileStart, f.Imports[i].Path.End()-f.FileStart
		b = slices.Concat(b[:at], []byte(strconv.Quote(path)), b[end:])
	}
	c.files[path.Join(socketsPath, to)] = b
	return nil
}

// find returns the directory of a moved package, and its path in an image.
func (c *collector) find(path string) (dir, to string, ok bool) {
	for _, m := range moved {
		rest, ok := strings.CutPrefix(path, m.prefix)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		return filepath.Join(c.dirs[m.module], filepath.FromSlash(strings.TrimPrefix(path, m.module))), m.to + rest, true
	}
	return "", "", false
}

func (c *collector) addPackage(dir, path string) error {
	if c.seen[path] {
		return nil
	}
	c.seen[path] = true
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		to := strings.TrimPrefix(path, socketsPath+"/") + "/" + name
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || slices.Contains(left, to) {
			continue
		}
		match, err := c.context.MatchFile(dir, name)
		changed := slices.ContainsFunc(changes, func(p patch) bool { return p.file == to })
		if err != nil || !match && !changed {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = c.add(to, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// socketPatches have package syscall ask for sockets first.
var socketPatches = []patch{
	{"syscall/syscall_linux.go", regexp.MustCompile(`(?m)^//go:linkname RawSyscall6\n`), "", 1},
	{"syscall/syscall_linux.go", regexp.MustCompile(`\bRawSyscall6\(`), "gocatRawSyscall6(", 4},
	{"syscall/syscall_linux.go", regexp.MustCompile(`(?m)^func (Raw)?Syscall\(trap, a1, a2, a3 uintptr\).*\{$`), "$0\n" + try("a1, a2, a3, 0, 0, 0"), 2},
	{"syscall/syscall_linux.go", regexp.MustCompile(`(?m)^func Syscall6\(trap, .*\{$`), "$0\n" + try("a1, a2, a3, a4, a5, a6"), 1},
	// It asks the runtime, past package syscall.
	{"internal/syscall/unix/fcntl_unix.go", regexp.MustCompile(`(?m)^func Fcntl\(fd int, cmd int, arg int\) \(int, error\) \{$`),
		"$0\n\tif r, _, e := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg)); e == 0 {\n\t\treturn int(r), nil\n\t}", 1},
}

func try(args string) string {
	return "\tif r, e, done := gocatTry(trap, " + args + "); done {\n\t\treturn r, 0, e\n\t}"
}
