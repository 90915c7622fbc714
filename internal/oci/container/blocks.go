package container

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
	"gocat/internal/oci/checked"
)

// openBlocks opens the guest's block devices: what is mounted at /dev/solo5/NAME,
// and devices of that name. Read-only ones are opened read-only, so the kernel
// refuses the guest's writes.
func openBlocks(s *specs.Spec) (all map[string]*os.File, err error) {
	all = map[string]*os.File{}
	defer func() {
		if err != nil {
			for _, f := range all {
				f.Close()
			}
		}
	}()
	add := func(name, path string, write bool, check func(*unix.Stat_t) error) error {
		if all[name] != nil {
			return fmt.Errorf("block device '%s' is mounted twice", name)
		}
		f, err := openBlock(path, write, check)
		if err != nil {
			return fmt.Errorf("block device '%s': %w", name, err)
		}
		all[name] = f
		return nil
	}
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if name, ok := bundle.BlockName(m.Destination); ok {
			write := !slices.Contains(m.Options, "ro") && !slices.Contains(m.Options, "rro")
			if err := add(name, m.Source, write, nil); err != nil {
				return nil, err
			}
		}
	}
	for i := range s.Linux.Devices {
		d := &s.Linux.Devices[i]
		name, ok := bundle.BlockName(path.Clean(d.Path))
		if !ok {
			continue
		}
		node, err := devicePath(d)
		if err != nil {
			return nil, fmt.Errorf("block device '%s': %w", name, err)
		}
		number := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
		if err := add(name, node, writable(s, d), func(st *unix.Stat_t) error {
			if st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != number {
				return fmt.Errorf("%s is not device %d:%d", node, d.Major, d.Minor)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// openBlock opens a file or block device of the host's.
func openBlock(path string, write bool, check func(*unix.Stat_t) error) (*os.File, error) {
	flags := unix.O_RDONLY
	if write {
		flags = unix.O_RDWR
	}
	return checked.Open(unix.AT_FDCWD, path, 0, flags, func(st *unix.Stat_t) error {
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG, unix.S_IFBLK:
		case unix.S_IFDIR:
			return fmt.Errorf("%s is a directory: mount a file or a block device", path)
		default:
			return fmt.Errorf("%s is neither a file nor a block device", path)
		}
		if check != nil {
			return check(st)
		}
		return nil
	})
}

// devicePath is the path of a block device's node on the host.
func devicePath(d *specs.LinuxDevice) (string, error) {
	f, err := os.Open(fmt.Sprintf("/sys/dev/block/%d:%d/uevent", d.Major, d.Minor))
	if err != nil {
		return "", fmt.Errorf("the host has no device %d:%d: %w", d.Major, d.Minor, err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "DEVNAME="); ok {
			return "/dev/" + name, nil
		}
	}
	return "", errors.New("the host has no node for it")
}

// writable reports whether the last rule about a device allows writing.
func writable(s *specs.Spec, d *specs.LinuxDevice) bool {
	write := true
	if s.Linux.Resources == nil {
		return write
	}
	for _, r := range s.Linux.Resources.Devices {
		is := func(n *int64, want int64) bool { return n == nil || *n == -1 || *n == want }
		if (r.Type == "" || r.Type == "a" || r.Type == "b") && is(r.Major, d.Major) && is(r.Minor, d.Minor) &&
			(r.Access == "" || strings.Contains(r.Access, "w") || r.Allow) {
			write = r.Allow && (r.Access == "" || strings.Contains(r.Access, "w"))
		}
	}
	return write
}
