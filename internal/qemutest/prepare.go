package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"gocat/internal/goguests"
)

// plan says what init does; the RAM disk holds it as JSON.
type plan struct {
	Marker  string   // begins the lines that are for the report
	Modules []string // paths, in order
	Jobs    []job
}

// job is one process to run.
type job struct {
	Name string
	Args []string
	Dir  string
	Env  []string
	Test bool // a Go test binary
}

// Paths inside the virtual machine.
const (
	planPath   = "/plan"
	gocatPath  = "/bin/gocat"
	ociPath    = "/bin/gocat-runtime"
	tendPath   = "/bin/tend"
	solo5Path  = "/solo5"
	imagesPath = "/images"
)

// tools are the programs of the host that tests use where they are. Such tests
// say what they miss.
var tools = []string{"sh", "mount", "mknod", "ip"}

// prepare builds the tests and writes the RAM disk. Go's own output goes to the
// directory tmp.
func prepare(ctx context.Context, o *options, k *kernel, tmp, initrd string) (*plan, error) {
	f, err := os.Create(initrd)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	a := newArchive(w)
	for _, d := range []string{"/dev", "/proc", "/sys", "/tmp", "/root"} {
		a.dir(d)
	}
	a.file("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	p := &plan{Marker: "@@" + rand.Text()}
	for _, m := range k.modules {
		name := "/modules/" + filepath.Base(m)
		a.host(name, m)
		p.Modules = append(p.Modules, name)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a.host("/init", self)
	env := append([]string{"PATH=/bin", "HOME=/root", "TMPDIR=/tmp", "GOCAT=" + gocatPath, "GOCAT_TEND=" + tendPath, "GOCAT_IMAGES=" + imagesPath, "CI=" + os.Getenv("CI")}, o.env...)

	libs := map[string]bool{}
	for _, name := range tools {
		from, err := exec.LookPath(name)
		if err != nil {
			say("%v: tests inside have to do without", err)
			continue
		}
		if err := addExecutable(a, libs, "/bin/"+name, from); err != nil {
			return nil, err
		}
	}
	for _, file := range o.files {
		from, to, ok := strings.Cut(file, ":")
		if !ok {
			if to, err = filepath.Abs(from); err != nil {
				return nil, err
			}
		}
		if err := addExecutable(a, libs, to, from); err != nil {
			return nil, err
		}
	}
	if dir := os.Getenv("GOCAT_SOLO5"); dir != "" {
		if err := addSolo5(a, libs, dir); err != nil {
			return nil, err
		}
		env = append(env, "GOCAT_SOLO5="+solo5Path)
	}
	if err := addProgram(ctx, a, gocatPath, "gocat/cmd/gocat", tmp); err != nil {
		return nil, err
	}
	if err := addProgram(ctx, a, ociPath, "gocat/cmd/gocat-runtime", tmp); err != nil {
		return nil, err
	}
	if len(o.command) > 0 {
		p.Jobs = append(p.Jobs, job{Name: o.command[0], Args: o.command, Dir: "/root", Env: env})
	}
	if err := addTests(ctx, a, p, o, env, tmp); err != nil {
		return nil, err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	a.file(planPath, 0o644, b)
	return p, errors.Join(a.close(), w.Flush())
}

// goBuild runs the Go command for static executables.
func goBuild(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+os.Getenv("GOFLAGS")+" -buildvcs=false")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// addProgram builds one of gocat's programs, with the Makefile's flags.
func addProgram(ctx context.Context, a *archive, to, pkg, tmp string) error {
	out := filepath.Join(tmp, path.Base(to))
	flags := "-ldflags=-s -w -E main.entry"
	if to == ociPath {
		flags = "-ldflags=-s -w"
	}
	if err := goBuild(ctx, "build", "-trimpath", flags, "-o", out, pkg); err != nil {
		return err
	}
	a.host(to, out)
	return nil
}

// tenderPackage tests the tender of hvt guests, with the program tendPath.
const tenderPackage = "gocat/kvmhvt"

// guestsPackage tests Go programs as unikernels, in the directory imagesPath.
const guestsPackage = "gocat/internal/goguests"

// addImages has gocat, in tmp, build them.
func addImages(ctx context.Context, a *archive, tmp string) error {
	for _, p := range goguests.Programs {
		for _, target := range []string{"spt", "hvt"} {
			name := p.Name + "." + target
			out := filepath.Join(tmp, name)
			cmd := exec.CommandContext(ctx, filepath.Join(tmp, "gocat"), p.BuildArgs(target, out)...)
			if b, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("gocat build %s: %w\n%s", p.Package, err, b)
			}
			a.host(path.Join(imagesPath, name), out)
		}
	}
	return nil
}

// addTests builds the packages' test binaries and adds jobs to run them.
func addTests(ctx context.Context, a *archive, p *plan, o *options, env []string, tmp string) error {
	if len(o.packages) == 0 {
		return nil
	}
	args := append([]string{"list", "-f", "{{.ImportPath}}\t{{.Dir}}"}, o.packages...)
	list, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(list)), "\n") {
		name, source, _ := strings.Cut(line, "\t")
		out := filepath.Join(tmp, fmt.Sprint(i, ".test"))
		if err := goBuild(ctx, "test", "-c", "-ldflags=-s -w", "-o", out, name); err != nil {
			return err
		}
		if name == tenderPackage {
			if err := addProgram(ctx, a, tendPath, tenderPackage+"/testdata/tend", tmp); err != nil {
				return err
			}
		}
		if name == guestsPackage {
			if err := addImages(ctx, a, tmp); err != nil {
				return err
			}
		}
		dir := path.Join("/src", name)
		binary := path.Join(dir, path.Base(name)+".test")
		a.host(binary, out)
		if a.err != nil {
			return fmt.Errorf("package %s has no tests: %w", name, a.err)
		}
		if err := addTree(a, path.Join(dir, "testdata"), filepath.Join(source, "testdata")); err != nil {
			return err
		}
		j := job{Name: name, Dir: dir, Env: env, Test: true,
			Args: []string{binary, "-test.v", "-test.timeout=" + o.timeout.String()}}
		if o.short {
			j.Args = append(j.Args, "-test.short")
		}
		if o.run != "" {
			j.Args = append(j.Args, "-test.run="+o.run)
		}
		p.Jobs = append(p.Jobs, j)
	}
	return nil
}

// addTree copies the regular files below a directory, which need not exist.
func addTree(a *archive, to, from string) error {
	err := filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			a.host(to+strings.TrimPrefix(file, from), file)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// addSolo5 copies the tenders and test guests of a built Solo5 checkout to where
// they are in it.
func addSolo5(a *archive, libs map[string]bool, dir string) error {
	var files []string
	for _, pattern := range []string{
		"tenders/*/solo5-hvt", "tenders/*/solo5-spt", "tests/test_*/test_*.hvt", "tests/test_*/test_*.spt",
	} {
		more, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		files = append(files, more...)
	}
	if len(files) == 0 {
		return fmt.Errorf("GOCAT_SOLO5: no tenders and no test guests in %s: build it first", dir)
	}
	for _, file := range files {
		if err := addExecutable(a, libs, solo5Path+strings.TrimPrefix(file, filepath.Clean(dir)), file); err != nil {
			return err
		}
	}
	return nil
}

// addExecutable copies a file and, when the host can execute it and it needs
// them, its shared libraries unless libs has them.
func addExecutable(a *archive, libs map[string]bool, to, from string) error {
	a.host(to, from)
	if a.err != nil {
		return a.err
	}
	interp, err := interpreter(from)
	if err != nil || interp == "" {
		return err
	}
	if _, err := os.Stat(interp); err != nil {
		return nil // Solo5's guests name an interpreter that nobody has
	}
	out, err := exec.Command("ldd", from).Output()
	if err != nil {
		return fmt.Errorf("ldd %s: %w", from, err)
	}
	for _, lib := range libraries(string(out)) {
		if !libs[lib] {
			libs[lib] = true
			a.host(lib, lib)
		}
	}
	return nil
}

// interpreter returns what an ELF file asks to be loaded by, or "" for other
// files.
func interpreter(file string) (string, error) {
	f, err := elf.Open(file)
	if _, ok := errors.AsType[*elf.FormatError](err); ok || errors.Is(err, io.EOF) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(b), "\x00"), err
		}
	}
	return "", nil
}

// libraries returns the paths in the output of ldd: "NAME => PATH (ADDRESS)",
// or "PATH (ADDRESS)" for the dynamic linker.
func libraries(ldd string) (paths []string) {
	for line := range strings.Lines(ldd) {
		for _, field := range strings.Fields(line) {
			if path.IsAbs(field) {
				paths = append(paths, field)
				break
			}
		}
	}
	return paths
}
