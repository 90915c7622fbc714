// Package checked opens files that an image or an engine has named. It looks at what is
// there first: to open a device or a FIFO may do something, or wait.
package checked

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Resolve has links lead to where they lead for a process whose root the directory is:
// none leads out of it.
const Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// Open opens the file at a path from directory dir, which openat2(2) resolves, if check
// has no error for it. It is the file that check has seen. Errors wrap the kernel's.
func Open(dir int, path string, resolve uint64, flags int, check func(*unix.Stat_t) error) (*os.File, error) {
	failed := func(op string, err error) error { return &os.PathError{Op: op, Path: path, Err: err} }
	named, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return nil, failed("open", err)
	}
	defer unix.Close(named)
	var st unix.Stat_t
	if err := unix.Fstat(named, &st); err != nil {
		return nil, failed("stat", err)
	}
	if err := check(&st); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(named), flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, failed("open", err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Regular is the check that a file, by the name that messages have for it, is a regular
// one.
func Regular(name string) func(*unix.Stat_t) error {
	return func(st *unix.Stat_t) error {
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return fmt.Errorf("%s is not a regular file", name)
		}
		return nil
	}
}
