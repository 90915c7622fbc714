package root

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
)

// standard are the devices that every container has.
var standard = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3}, {Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7}, {Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9}, {Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// links that every container has, where nothing else is in their place.
var links = []struct{ target, path string }{
	{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"},
	{"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"}, {"pts/ptmx", "/dev/ptmx"},
}

// devices makes the container's device nodes, unless the engine has mounted a
// directory of its own at /dev.
func (r *Root) devices() error {
	for i := range r.spec.Mounts {
		if m := &r.spec.Mounts[i]; m.Destination == "/dev" && bundle.IsBind(m) {
			return nil
		}
	}
	r.dirs = map[string]*os.File{}
	defer func() {
		for _, f := range r.dirs {
			f.Close()
		}
	}()
	for _, d := range standard {
		if err := r.device(&d, false); err != nil {
			return fmt.Errorf("make %s: %w", d.Path, err)
		}
	}
	for i := range r.spec.Linux.Devices {
		d := &r.spec.Linux.Devices[i]
		if _, ok := bundle.BlockName(path.Clean(d.Path)); ok {
			continue
		}
		if err := r.device(d, true); err != nil {
			return fmt.Errorf("linux.devices: make %s: %w", d.Path, err)
		}
	}
	for _, l := range links {
		if err := r.link(l.target, l.path); err != nil {
			return fmt.Errorf("make %s: %w", l.path, err)
		}
	}
	return nil
}

// dir opens a directory beneath the root, for devices, and makes it if it is not there.
// Most devices are in one.
func (r *Root) dir(path string) (f *os.File, err error) {
	if f = r.dirs[path]; f == nil {
		if f, err = securejoin.MkdirAllHandle(r.Dir, path, 0o755); err == nil {
			r.dirs[path] = f
		}
	}
	return f, err
}

// device makes a device node. One that the configuration names must be exactly as
// it says.
func (r *Root) device(d *specs.LinuxDevice, exact bool) error {
	parent, err := r.dir(path.Dir(path.Clean(d.Path)))
	if err != nil {
		return err
	}
	name := path.Base(path.Clean(d.Path))
	if r.userns {
		return r.bindDevice(d)
	}
	mode := uint32(0o666)
	if d.FileMode != nil {
		mode = uint32(d.FileMode.Perm())
	}
	kind := map[string]uint32{"b": unix.S_IFBLK, "c": unix.S_IFCHR, "u": unix.S_IFCHR, "p": unix.S_IFIFO}[d.Type]
	number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	var st unix.Stat_t
	if err := unix.Fstatat(int(parent.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
		if st.Mode&unix.S_IFMT == kind && (kind == unix.S_IFIFO || st.Rdev == number) || !exact {
			return nil
		}
		return errors.New("something else is in its place")
	}
	umask := unix.Umask(0) // no chmod afterwards, which would follow a link in its place
	err = unix.Mknodat(int(parent.Fd()), name, kind|mode, int(number))
	unix.Umask(umask)
	if err != nil {
		return err
	}
	var uid, gid int
	if d.UID != nil {
		uid = int(*d.UID)
	}
	if d.GID != nil {
		gid = int(*d.GID)
	}
	return unix.Fchownat(int(parent.Fd()), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// bindDevice mounts the host's own node.
func (r *Root) bindDevice(d *specs.LinuxDevice) error {
	target, err := r.target(path.Clean(d.Path), false)
	if err != nil {
		return err
	}
	defer target.Close()
	return unix.Mount(path.Clean(d.Path), proc(target), "", unix.MS_BIND, "")
}

// link makes a symbolic link, unless something is there.
func (r *Root) link(target, at string) error {
	parent, err := r.dir(path.Dir(at))
	if err != nil {
		return err
	}
	err = unix.Symlinkat(target, int(parent.Fd()), path.Base(at))
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EROFS) {
		return nil
	}
	return err
}

// Terminal makes a pseudoterminal of the container's, of the given size, and returns
// its two sides.
func (r *Root) Terminal(size *specs.Box) (master, slave *os.File, err error) {
	ptmx, err := r.open("/dev/pts/ptmx")
	if err != nil {
		return nil, nil, fmt.Errorf("process.terminal: %w: the container has no devpts at /dev/pts", err)
	}
	defer ptmx.Close()
	if master, err = os.OpenFile(proc(ptmx), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0); err != nil {
		return nil, nil, fmt.Errorf("process.terminal: %w", err)
	}
	if err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err == nil {
		var fd uintptr
		var errno unix.Errno
		fd, _, errno = unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
		if errno == 0 {
			slave = os.NewFile(fd, "console")
		} else {
			err = errno
		}
	}
	if err == nil && size != nil {
		err = unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("process.terminal: %w", err)
	}
	return master, slave, r.console(slave)
}

// console mounts the terminal at /dev/console, as containers have it.
func (r *Root) console(slave *os.File) error {
	target, err := r.target("/dev/console", false)
	if err != nil {
		return err
	}
	defer target.Close()
	return unix.Mount(proc(slave), proc(target), "", unix.MS_BIND, "")
}

// Sysctl sets the kernel's settings of the container's namespaces, by the host's
// /proc, before the root is changed.
func Sysctl(settings map[string]string) error {
	for name, value := range settings {
		path := "/proc/sys/" + name // net/ipv4/conf/eth0.1/forwarding
		if !strings.Contains(name, "/") {
			path = "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(value)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return fmt.Errorf("linux.sysctl: %s: %w", name, err)
		}
	}
	return nil
}
