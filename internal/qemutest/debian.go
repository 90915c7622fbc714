package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// kernel is a kernel in the cache.
type kernel struct {
	image   string   // path of the bzImage
	modules []string // paths of the decompressed modules, in the order in which to load them
	version string   // package and version it came from
}

const qemuName = "qemu-system-x86_64"

// findQEMU returns the path of qemu, after installing it where that is possible.
func findQEMU(ctx context.Context) (string, error) {
	path, err := exec.LookPath(qemuName)
	if err == nil {
		return path, nil
	}
	install := []string{"apt-get", "install", "--yes", "--no-install-recommends", "qemu-system-x86"}
	if os.Getuid() != 0 {
		return "", fmt.Errorf("%w: run as root: %s", err, strings.Join(install, " "))
	}
	say("there is no %s: %s", qemuName, strings.Join(install, " "))
	err = aptRetry(ctx, func() error { return command(ctx, "", install...) })
	if err != nil {
		return "", err
	}
	return exec.LookPath(qemuName)
}

// findKernel returns the kernel of a Debian package with the modules wanted and
// those that they need, from the cache or else from Debian.
func findKernel(ctx context.Context, cache, pkg string, modules []string) (*kernel, error) {
	dir := filepath.Join(cache, pkg+"+"+strings.Join(modules, "+"))
	k, err := cachedKernel(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(cache, "download-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	say("no kernel in %s: downloading %s", dir, pkg)
	var deb string
	err = aptRetry(ctx, func() (err error) {
		deb, err = download(ctx, pkg, tmp)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("get kernel %s: %w", pkg, err)
	}
	say("unpacking %s", filepath.Base(deb))
	tree, result := filepath.Join(tmp, "tree"), filepath.Join(tmp, "kernel")
	if err := command(ctx, "", "dpkg-deb", "-x", deb, tree); err != nil {
		return nil, err
	}
	if err := selectFiles(tree, result, modules); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(deb), err)
	}
	version := strings.TrimSuffix(filepath.Base(deb), ".deb") + "\n"
	if err := os.WriteFile(filepath.Join(result, "version"), []byte(version), 0o644); err != nil {
		return nil, err
	}
	// Another run may have been faster: then its kernel is used.
	if err := os.Rename(result, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return cachedKernel(dir)
}

func cachedKernel(dir string) (*kernel, error) {
	version, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil {
		return nil, err
	}
	k := &kernel{image: filepath.Join(dir, "vmlinuz"), version: strings.TrimSpace(string(version))}
	k.modules, err = filepath.Glob(filepath.Join(dir, "*.ko")) // sorted
	return k, err
}

// imageName finds the package that a package such as linux-image-amd64 stands
// for among its dependencies.
var imageName = regexp.MustCompile(`(?m)^Depends:.*?\b(linux-image-[0-9][^ ,]*)`)

// download stores the package file of a kernel in dir and returns its path.
func download(ctx context.Context, pkg, dir string) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "show", "--no-all-versions", pkg).Output()
	if err != nil {
		return "", fmt.Errorf("apt-cache show %s: %w", pkg, err)
	}
	if m := imageName.FindSubmatch(out); m != nil {
		pkg = string(m[1])
	}
	// APT would drop root's rights, and then may not write to dir.
	err = command(ctx, dir, "apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", pkg)
	if err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, pkg+"_*.deb"))
	if err == nil && len(debs) != 1 {
		err = fmt.Errorf("apt-get download %s left %d package files, expected one", pkg, len(debs))
	}
	if err != nil {
		return "", err
	}
	return debs[0], nil
}

// aptRetry does what may fail because APT's lists are missing or old; then it
// renews them and tries again.
func aptRetry(ctx context.Context, do func() error) error {
	err := do()
	if err == nil || ctx.Err() != nil || os.Getuid() != 0 {
		return err
	}
	say("%v: renewing APT's lists", err)
	if err := command(ctx, "", "apt-get", "--quiet", "update"); err != nil {
		return err
	}
	return do()
}

// command runs a command in dir; what it prints is shown.
func command(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return nil
}
