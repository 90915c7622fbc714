package gobuild

import (
	"context"
	"fmt"
	"go/build"
	"os"
	"path/filepath"
	"strings"

	"gocat/internal/image"
)

// Config says what to build.
type Config struct {
	Dir      string // where the go command runs; "" is the working directory
	Package  string // what it is told to build: a directory, an import path or files
	Target   image.Target
	Manifest image.Manifest // names and types; empty for a program without devices
	Tags     []string       // build tags beside the one that holds in images
	// Test builds the tests of Package, as go test -c does.
	Test bool
}

// imageTag is a build tag that holds in images.
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
	pkgs, err := t.list(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if warnings, err = t.check(ctx, c, pkgs); err != nil {
		return nil, nil, err
	}
	program, err := t.link(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	img, err = convert(program, c.Target, c.Manifest)
	return img, warnings, err
}

// inItsModule has the go command run in the directory that is to be built where
// this belongs to another module than Dir, which the go command would refuse.
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

// link compiles and links and returns the program.
func (t *toolchain) link(ctx context.Context, c Config) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "gocat-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if t, err = t.outsideModules(tmp); err != nil {
		return nil, err
	}
	list, err := t.overlay(tmp)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(tmp, "program")
	// The text begins at 1 MiB and a page, which leaves the page below to the
	// ELF header: lower is not the guest's. The symbols are needed until the
	// program is checked.
	args := []string{"-o", out, "-overlay", list, "-tags", c.tags(), "-trimpath", "-buildvcs=false",
		"-ldflags", fmt.Sprintf("-T %#x -E gocatStart -w -buildid=", image.MinAddr+image.PageSize),
		// Other modules' assembler (golang.org/x/sys/unix has some) comes to the
		// gate by a macro: an overlay must not replace files of the module cache.
		`-asmflags=all=-D "SYSCALL=` + gateCall + `"`, "-asmflags=std=", c.Package}
	if c.Test {
		args = append([]string{"test", "-c", "-vet=off"}, args...)
	} else {
		args = append([]string{"build"}, args...)
	}
	if _, err := t.run(ctx, c.Dir, args...); err != nil {
		return nil, err
	}
	program, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("the go command made no program of %s: %w", c.Package, err)
	}
	return program, nil
}
