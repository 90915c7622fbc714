// Package root sets up a container's root directory as its configuration says:
// mounts, devices, masks, and finally the change of the root. It works in the
// mount namespace of the container's init.
//
// The image made what is in the root, so each path in it is resolved by the kernel
// beneath the root (openat2), and acted on by descriptor: no link leads out of it.
package root

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/moby/sys/userns"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
)

// Root is a container's root directory.
type Root struct {
	Dir    *os.File // O_PATH, with what is mounted there
	spec   *specs.Spec
	userns bool // device nodes cannot be made in it
	// dirs are directories beneath it, by path, while devices are made.
	dirs map[string]*os.File
}

// Mount makes the root of a container a mount of its own, with all others that the
// configuration wants and the devices. The host's own are there still.
func Mount(s *specs.Spec) (*Root, error) {
	r := &Root{spec: s, userns: userns.RunningInUserNS()}
	// The host must not see what is mounted here, and mounts here must not keep
	// alive what the host unmounts.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	path := s.Root.Path
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("root.path %s is not a directory", path)
	}
	if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return nil, fmt.Errorf("mount root %s: %w", path, err)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open root %s: %w", path, err)
	}
	r.Dir = os.NewFile(uintptr(fd), path)
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if _, ok := bundle.BlockName(m.Destination); ok {
			continue // the guest's, not the container's
		}
		if err := r.mount(m); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Destination, err)
		}
	}
	if err := r.devices(); err != nil {
		return nil, err
	}
	return r, nil
}

// proc is the path of an open file that mount(2) takes.
func proc(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// open opens a path beneath the root, to name it only.
func (r *Root) open(path string) (*os.File, error) {
	return securejoin.OpenatInRoot(r.Dir, path)
}

// Enter makes the directory the root of the process, and applies the
// configuration's masked and read-only paths. Nothing of the host's root is
// left.
func (r *Root) Enter() error {
	if err := r.protect(); err != nil {
		return err
	}
	old, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(old)
	if err := unix.Fchdir(int(r.Dir.Fd())); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return r.leave(old)
}

// leave unmounts the old root, which the new one is mounted on.
func (r *Root) leave(old int) error {
	if err := unix.Fchdir(old); err != nil {
		return err
	}
	if err := unix.Mount("", ".", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make the old root private: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	return r.settle()
}

// settle does what is left to do with the new root.
func (r *Root) settle() error {
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if p := bundle.Propagation(r.spec.Linux.RootfsPropagation); p != 0 {
		if err := unix.Mount("", "/", "", p, ""); err != nil {
			return fmt.Errorf("linux.rootfsPropagation: %w", err)
		}
	}
	if r.spec.Root.Readonly {
		if err := remount("/", unix.MS_RDONLY, 0); err != nil {
			return fmt.Errorf("root.readonly: %w", err)
		}
	}
	return nil
}

// EnterMoved is Enter without pivot_root, which cannot leave a ramfs (--no-pivot).
func (r *Root) EnterMoved() error {
	if err := r.protect(); err != nil {
		return err
	}
	if err := unix.Fchdir(int(r.Dir.Fd())); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return r.settle()
}

// protect applies the configuration's masked and read-only paths.
func (r *Root) protect() error {
	for _, p := range r.spec.Linux.ReadonlyPaths {
		if err := r.on(p, func(path string, _ bool) error {
			if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				return err
			}
			return r.remountTop(p, unix.MS_RDONLY, 0)
		}); err != nil {
			return fmt.Errorf("linux.readonlyPaths: %s: %w", p, err)
		}
	}
	for _, p := range r.spec.Linux.MaskedPaths {
		if err := r.on(p, func(path string, dir bool) error {
			if dir {
				return unix.Mount("tmpfs", path, "tmpfs", unix.MS_RDONLY, "nr_blocks=1,nr_inodes=1")
			}
			return unix.Mount("/dev/null", path, "", unix.MS_BIND, "")
		}); err != nil {
			return fmt.Errorf("linux.maskedPaths: %s: %w", p, err)
		}
	}
	return nil
}

// on calls f for a path beneath the root that is there.
func (r *Root) on(p string, f func(path string, dir bool) error) error {
	file, err := r.open(p)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	return f(proc(file), info.IsDir())
}

// remountTop changes flags of what is mounted last at a path beneath the root.
func (r *Root) remountTop(p string, set, clear uintptr) error {
	file, err := r.open(p)
	if err != nil {
		return err
	}
	defer file.Close()
	return remount(proc(file), set, clear)
}

// remount changes flags of a mount. Those that it has stay where they are not cleared:
// in a user namespace some are locked.
func remount(path string, set, clear uintptr) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	const same = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY | unix.MS_NOATIME | unix.MS_NODIRATIME // as statfs has them
	has := uintptr(st.Flags) & same
	if st.Flags&stNoSymFollow != 0 {
		has |= bundle.NoSymFollow
	}
	return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|set|has&^clear, "")
}

// stNoSymFollow is linux/statfs.h's ST_NOSYMFOLLOW.
const stNoSymFollow = 0x2000
