package root

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
)

// mount makes one mount of the configuration.
func (r *Root) mount(m *specs.Mount) error {
	f, err := bundle.MountFlags(m.Options)
	if err != nil {
		return err
	}
	if bundle.IsBind(m) {
		return r.bind(m, f)
	}
	if m.Destination == procDir && m.Type != "proc" {
		return errNotProc
	}
	switch m.Type {
	case "cgroup", "cgroup2":
		return r.cgroup(m, f)
	case "proc", "sysfs":
		// A link there would have them elsewhere than where they are protected.
		if err := r.plain(m.Destination); err != nil {
			return err
		}
	}
	target, err := r.target(m.Destination, true)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := checkProc(target, m.Destination); err != nil {
		return err
	}
	data := f.Data
	if label := r.spec.Linux.MountLabel; label != "" && m.Type != "proc" && m.Type != "sysfs" {
		data = join(data, fmt.Sprintf("context=%q", label))
	}
	kind := m.Type
	if kind == "" {
		return errors.New("the type is missing")
	}
	if err := unix.Mount(m.Source, proc(target), kind, f.Flags, data); err != nil {
		if kind != "sysfs" {
			return fmt.Errorf("type %s: %w", kind, err)
		}
		// The network namespace is of another user namespace: the host's is as good.
		if err := unix.Mount("/sys", proc(target), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("type %s: %w", kind, err)
		}
	}
	return r.attributes(m.Destination, f)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "," + b
}

// plain refuses a destination that leads over a link.
func (r *Root) plain(destination string) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(int(r.Dir.Fd()), destination, &how)
	switch err {
	case nil:
		unix.Close(fd)
	case unix.ENOENT:
	case unix.ELOOP:
		return errors.New("there is a symbolic link in its place")
	default:
		return err
	}
	return nil
}

// target opens the place for a mount, and makes it if it is not there.
func (r *Root) target(destination string, dir bool) (*os.File, error) {
	if dir {
		return securejoin.MkdirAllHandle(r.Dir, destination, 0o755)
	}
	if f, err := r.open(destination); err == nil {
		return f, nil
	}
	parent, err := securejoin.MkdirAllHandle(r.Dir, path.Dir(destination), 0o755)
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), path.Base(destination), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, &os.PathError{Op: "make", Path: destination, Err: err}
	}
	unix.Close(fd)
	return r.open(destination)
}

// procDir is where a process has the kernel's files about itself.
const procDir = "/proc"

// errNotProc: what a process finds there, it must be able to believe.
var errNotProc = errors.New("want the kernel's: a mount of type proc, or a bind mount of one")

// emulated are the files in procDir that something may be mounted on: those that lxcfs
// has for containers, and settings that checkpoints take.
var emulated = strings.Fields(`/proc/cpuinfo /proc/diskstats /proc/loadavg /proc/meminfo /proc/slabinfo /proc/stat
/proc/swaps /proc/uptime /proc/sys/crypto/fips_enabled /proc/sys/kernel/ns_last_pid`)

// checkProc refuses a mount on any other file of the kernel's, to which a link may lead.
func checkProc(target *os.File, destination string) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(target.Fd()), &st); err != nil {
		return err
	}
	if st.Type != unix.PROC_SUPER_MAGIC || destination == procDir || slices.Contains(emulated, destination) {
		return nil
	}
	return errors.New("it is in /proc, where only the files that lxcfs emulates may be replaced")
}

// bind mounts a file or directory of the host's.
func (r *Root) bind(m *specs.Mount, f bundle.Flags) error {
	info, err := os.Stat(m.Source)
	if err != nil {
		return err
	}
	target, err := r.target(m.Destination, info.IsDir())
	if err != nil {
		return err
	}
	defer target.Close()
	if m.Destination == procDir {
		var st unix.Statfs_t
		if err := unix.Statfs(m.Source, &st); err != nil {
			return err
		}
		if st.Type != unix.PROC_SUPER_MAGIC {
			return errNotProc
		}
	} else if err := checkProc(target, m.Destination); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, proc(target), "", unix.MS_BIND|f.Flags&unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", m.Source, err)
	}
	const own = unix.MS_BIND | unix.MS_REC
	if f.Flags&^own != 0 || f.Clear != 0 {
		if err := r.remountTop(m.Destination, f.Flags&^own, f.Clear); err != nil {
			return err
		}
	}
	return r.attributes(m.Destination, f)
}

// attributes sets what takes a call of its own.
func (r *Root) attributes(destination string, f bundle.Flags) error {
	if len(f.Propagation)+len(f.Recursive) == 0 {
		return nil
	}
	top, err := r.open(destination)
	if err != nil {
		return err
	}
	defer top.Close()
	for _, p := range f.Propagation {
		if err := unix.Mount("", proc(top), "", p, ""); err != nil {
			return fmt.Errorf("propagation: %w", err)
		}
	}
	for i := range f.Recursive {
		if err := unix.MountSetattr(-1, proc(top), unix.AT_RECURSIVE, &f.Recursive[i]); err != nil {
			return fmt.Errorf("mount_setattr: %w", err)
		}
	}
	return nil
}

// cgroup mounts the control groups, of which the process sees its own, or the whole
// where it has no namespace for them.
func (r *Root) cgroup(m *specs.Mount, f bundle.Flags) error {
	target, err := r.target(m.Destination, true)
	if err != nil {
		return err
	}
	defer target.Close()
	if err := checkProc(target, m.Destination); err != nil {
		return err
	}
	own := bundle.Has(r.spec, specs.CgroupNamespace)
	if cgroups.IsCgroup2UnifiedMode() {
		if own {
			err = unix.Mount("cgroup2", proc(target), "cgroup2", f.Flags, "")
		}
		if !own || err != nil {
			err = r.bindAt("/sys/fs/cgroup", target, m.Destination, f.Flags)
		}
		return err
	}
	if err := unix.Mount("tmpfs", proc(target), "tmpfs", f.Flags&^unix.MS_RDONLY, "mode=755"); err != nil {
		return err
	}
	mounts, err := cgroups.GetCgroupMounts(false)
	if err != nil {
		return err
	}
	for _, c := range mounts {
		name := filepath.Base(c.Mountpoint)
		at := path.Join(m.Destination, name)
		dir, err := r.target(at, true)
		if err != nil {
			return err
		}
		if err := r.bindAt(c.Mountpoint, dir, at, f.Flags|unix.MS_RDONLY); err != nil {
			dir.Close()
			return fmt.Errorf("%s: %w", name, err)
		}
		dir.Close()
	}
	if f.Flags&unix.MS_RDONLY != 0 {
		return r.remountTop(m.Destination, unix.MS_RDONLY, 0)
	}
	return nil
}

func (r *Root) bindAt(source string, target *os.File, destination string, flags uintptr) error {
	if err := unix.Mount(source, proc(target), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return r.remountTop(destination, flags&(unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC), 0)
}
