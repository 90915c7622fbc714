package output

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where an output goes: into a file that is open, or to a name in a
// directory.
type place struct {
	path  string
	file  *os.File     // to be written as it is, or nil
	owned bool         // file must be closed
	as    *unix.Stat_t // the existing thing to open and write directly, or nil

	dir   int // descriptor of the directory
	base  string
	older os.FileMode // of the file that is there; 0 if none is
	link  bool        // it is a link that leads to nothing
	made  bool        // find made the file
}

func (p *place) close() {
	if p.owned {
		p.file.Close()
	}
	if p.dir >= 0 {
		unix.Close(p.dir)
	}
	p.dir, p.owned = -1, false
}

var (
	errNoName    = errors.New("no file to write to: name one")
	errDirectory = errors.New("it is a directory: name a file")
	errMoved     = errors.New("it was replaced meanwhile")
)

// find is look, and then opens what is written directly, and makes sure that the
// file that a link leads to exists.
func find(path string) (place, error) {
	p, err := look(path)
	switch {
	case err != nil:
		return p, err
	case p.as != nil:
		return p, p.open()
	case !p.link:
		return p, nil
	}
	p.close()
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return p, explain(path, err)
	}
	unix.Close(fd)
	p, err = look(path)
	p.made, p.older = err == nil && p.as == nil && p.file == nil, 0
	return p, err
}

// look finds out where path leads.
func look(path string) (place, error) {
	p := place{path: path, dir: -1}
	switch {
	case path == "":
		return p, errNoName
	case strings.HasSuffix(path, "/"):
		return p, errDirectory
	}
	if p.file = standard(path); p.file != nil {
		return p, nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		if err != unix.ENOENT {
			return p, explain(path, err)
		}
		var st unix.Stat_t
		p.link = unix.Lstat(path, &st) == nil
		return p, p.in(filepath.Dir(path), filepath.Base(path))
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return p, err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return p, errDirectory
	case st.Mode&unix.S_IFMT != unix.S_IFREG || throughDescriptor(path):
		p.as = &st
		return p, nil
	}
	p.older = os.FileMode(st.Mode & 0o777)
	var last unix.Stat_t
	if err := unix.Lstat(path, &last); err == nil && same(&st, &last) {
		return p, p.in(filepath.Dir(path), filepath.Base(path))
	}
	// A link. The kernel says where it led.
	target, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return p, fmt.Errorf("where the link leads is unknown: %w", err)
	}
	if err := p.in(filepath.Dir(target), filepath.Base(target)); err != nil {
		return p, err
	}
	if err := unix.Fstatat(p.dir, p.base, &last, unix.AT_SYMLINK_NOFOLLOW); err != nil || !same(&st, &last) {
		return p, errMoved
	}
	return p, nil
}

// in makes the place a name in a directory.
func (p *place) in(dir, base string) (err error) {
	p.base = base
	p.dir, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// open opens what look has found, if it still is that. O_CREAT has the kernel look
// at whose it is (fs.protected_fifos).
func (p *place) open() error {
	flags := unix.O_WRONLY | unix.O_CREAT | unix.O_NOCTTY | unix.O_CLOEXEC
	if p.as.Mode&unix.S_IFMT == unix.S_IFREG {
		flags |= unix.O_TRUNC
	}
	fd, err := unix.Open(p.path, flags, 0o600)
	if err != nil {
		return explain(p.path, err)
	}
	p.file, p.owned = os.NewFile(uintptr(fd), p.path), true
	var got unix.Stat_t
	if err := unix.Fstat(fd, &got); err != nil || !same(&got, p.as) {
		return errMoved
	}
	return nil
}

// standard returns standard output if path leads there. Opening it again would
// begin at its start, and a socket cannot be opened.
func standard(path string) *os.File {
	var out, there unix.Stat_t
	if unix.Fstat(1, &out) == nil && unix.Stat(path, &there) == nil && same(&out, &there) && out.Mode&unix.S_IFMT != unix.S_IFCHR {
		return os.Stdout
	}
	return nil
}

// throughDescriptor reports whether path leads through one of /proc/PID/fd, as
// /dev/fd/3 does: then the file and not its name is meant.
func throughDescriptor(path string) bool {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err == nil {
		unix.Close(fd)
	}
	return err == unix.ELOOP
}

func same(a, b *unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// explain says more of why a path cannot be opened.
func explain(path string, err error) error {
	var st unix.Stat_t
	if !errors.Is(err, unix.EACCES) || unix.Lstat(path, &st) != nil {
		return err
	}
	switch {
	case st.Uid == uint32(os.Geteuid()):
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return fmt.Errorf("%w: it is another user's link, which the kernel does not follow in a directory that all may write to (fs.protected_symlinks)", err)
	case st.Mode&unix.S_IFMT == unix.S_IFIFO || st.Mode&unix.S_IFMT == unix.S_IFREG:
		return fmt.Errorf("%w: it is another user's, which the kernel does not open in a directory that all may write to (fs.protected_fifos, fs.protected_regular)", err)
	}
	return err
}
