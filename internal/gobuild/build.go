package gobuild

import (
	"context"
	"errors"
	"fmt"
	"go/build"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gocat/internal/image"
	"gocat/internal/symbols"
)

// Config says what to build.
type Config struct {
	Dir      string   // where the go command runs; "" is the working directory
	Package  string   // what it is told to build: a directory, an import path or a file
	Sources  []string // more files of the same package
	Target   image.Target
	Manifest image.Manifest // names and types; empty for a program without devices
	GoFlags
	// Service is a network device that is declared if the program can listen or
	// dial, "" for none.
	Service string
	// Test builds the tests of Package, as go test -c does, with the files that go
	// test has them find.
	Test bool
	// Files are directories that the image takes along.
	Files []Files
	// CACerts is a file of root certificates; "" is the build host's for programs
	// that ask for the system's, "none" none.
	CACerts string
	// KeepELF is a file that gets the program as it was linked, with its symbols, ""
	// for none.
	KeepELF string
	// Debug leaves symbols and debugging information in the image.
	Debug bool
	// Verbose, if any, gets what the go command prints while it builds.
	Verbose io.Writer
	// Progress, if any, is told what is being done, often.
	Progress func(string)
}

// imageTag is a build tag that is set in images.
const imageTag = "gocat_image"

func (c Config) tags() string { return strings.Join(append([]string{imageTag}, c.Tags...), ",") }

// Build compiles a package into an image. Equal inputs give equal images. What
// the image will not be able to do is told by warnings, a line each. When ctx
// ends, so do the go command and Build.
func Build(ctx context.Context, c Config) (img []byte, warnings []string, err error) {
	c = c.inItsModule()
	t, err := findToolchain(ctx, c.Dir)
	if err != nil {
		return nil, nil, err
	}
	if c, err = t.honour(ctx, c); err != nil {
		return nil, nil, err
	}
	defer t.progress.start(c)()
	t.verbose = c.Verbose
	pkgs, err := t.list(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if warnings, err = t.check(ctx, c, pkgs); err != nil {
		return nil, nil, err
	}
	program, sockets, err := t.linkFor(ctx, c, usesNet(pkgs))
	if err != nil {
		return nil, nil, err
	}
	if sockets && c.Service != "" {
		if c.Manifest, err = Declare(c.Manifest, image.Net, c.Service); err != nil {
			return nil, nil, err
		}
	}
	if c.KeepELF != "" {
		if err := os.WriteFile(c.KeepELF, program, 0o755); err != nil {
			return nil, nil, err
		}
	}
	files, told, err := c.files(program, pkgs, t.goroot)
	if err != nil {
		return nil, nil, err
	}
	if told != "" {
		warnings = append(warnings, told)
	}
	img, err = convert(program, c.Target, c.Manifest, files)
	if err == nil && c.Debug {
		img, err = withSections(img, program)
	}
	return img, warnings, err
}

// files returns the tree of files that the image gets, nil for none.
func (c *Config) files(program []byte, pkgs []pkg, goroot string) (packed []byte, told string, err error) {
	all, work := slices.Clip(c.Files), "/"
	certs, told, err := c.certs(program)
	if err != nil {
		return nil, "", err
	}
	if certs != "" {
		all = append(all, Files{Dir: certs, Prefix: certsPath, Fixed: true})
	}
	if c.Test {
		for _, p := range pkgs {
			if !p.DepOnly && !strings.HasSuffix(p.ImportPath, ".test") && !strings.Contains(p.ImportPath, " [") {
				all = append(all, testFiles(p.Dir)...)
				work = filepath.ToSlash(p.Dir)
				break
			}
		}
		// As on hosts, tests know the world's time zones.
		if zones := filepath.Join(goroot, "lib", "time"); isDir(zones) {
			all = append(all, Files{Dir: zones, Prefix: filepath.ToSlash(zones), Fixed: true})
		}
	}
	if len(all) == 0 {
		return nil, "", nil
	}
	packed, err = pack(all, work)
	if err != nil {
		return nil, "", fmt.Errorf("files: %w", err)
	}
	return packed, told, nil
}

// inItsModule runs the go command in the directory to build if that belongs to
// a module other than Dir's: from Dir the go command would refuse it.
func (c Config) inItsModule() Config {
	dir := c.Package
	if !filepath.IsAbs(dir) {
		if !build.IsLocalImport(dir) {
			return c
		}
		dir = filepath.Join(c.Dir, dir)
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() || moduleOf(dir) == moduleOf(c.Dir) {
		return c // the go command says what is wrong, if anything is
	}
	c.Dir, c.Package = dir, "."
	return c
}

// moduleOf returns the directory of the go.mod that the go command finds from
// dir, or "".
func moduleOf(dir string) string {
	dir, err := filepath.Abs(dir)
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return ""
}

// linkFor links with sockets if the program uses them, and says whether it does.
// Whether what uses them is reached only the linker knows.
func (t *toolchain) linkFor(ctx context.Context, c Config, net bool) (program []byte, sockets bool, err error) {
	if net {
		if program, err = t.link(ctx, c, true); err != nil {
			return nil, false, err
		}
		if sockets, err = hasSymbol(program, makers...); sockets || err != nil {
			return program, sockets, err
		}
	}
	program, err = t.link(ctx, c, false)
	return program, false, err
}

// link compiles and links and returns the program.
func (t *toolchain) link(ctx context.Context, c Config, sockets bool) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "gocat-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if t, err = t.outsideModules(tmp); err != nil {
		return nil, err
	}
	list, err := t.overlay(ctx, tmp, sockets)
	if err != nil {
		return nil, err
	}
	if sockets {
		c.Tags = append(slices.Clip(c.Tags), socketsTag)
	}
	out := filepath.Join(tmp, "program")
	// The text begins a page above the lowest address of a guest's, which leaves
	// that page to the ELF header. The symbols are needed until the program is
	// checked.
	own := fmt.Sprintf("-T %#x -E gocatStart -buildid=", symbols.GoText)
	if !c.Debug {
		own += " -w"
	}
	linker, err := c.linkerFlags(own)
	if err != nil {
		return nil, err
	}
	args := []string{"-o", out, "-overlay", list, "-tags", c.tags(), "-buildvcs=false", "-ldflags", linker,
		// Other modules' assembler (golang.org/x/sys/unix has some) comes to the
		// gate by a macro: an overlay must not replace files of the module cache.
		`-asmflags=all=-D "SYSCALL=` + gateCall + `"`, "-asmflags=std="}
	args = append(append(append(args, c.Others...), c.Package), c.Sources...)
	if !c.Whole && !c.Test {
		args = append([]string{"-trimpath"}, args...)
	}
	if c.Test { // which find their files by the paths of their sources
		args = append([]string{"test", "-c", "-vet=off"}, args...)
	} else {
		args = append([]string{"build"}, args...)
	}
	if _, err := t.run(ctx, c.Dir, args...); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(out)
	if errors.Is(err, os.ErrNotExist) && c.Test {
		return nil, fmt.Errorf("%s has no tests: no file in it ends in _test.go", c.Package)
	}
	if err != nil {
		return nil, fmt.Errorf("the go command made no program of %s: %w", c.Package, err)
	}
	return program, nil
}
