// Package output writes the files that users name for results: seals, images,
// reports, traces. The kernel resolves each name, so that its protections apply,
// mainly the one against following other users' links in directories like /tmp
// (fs.protected_symlinks and similar settings, proc_sys_fs(5)).
package output

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Interrupted is the error of Write when a signal came before the file was
// complete.
type Interrupted struct{ Signal os.Signal }

// Error names the signal.
func (e *Interrupted) Error() string { return "interrupted by a signal: " + e.Signal.String() }

// Write makes the file at path with the contents that write gives it, whole or
// not at all: it appears, or replaces an older one, when it is complete. A link
// is followed. Anything that is not a regular file, such as /dev/null, is written
// to directly; so is standard output, by whatever name (/dev/stdout).
//
// A new file has the mode less the umask. One that takes the place of an older one
// has that one's mode, with execution for those who may read if mode has it:
// nobody can read the new one who could not read the old one.
//
// When a signal comes meanwhile the error is an *Interrupted, and the caller
// must end the process, for write may still be at work.
func Write(path string, mode os.FileMode, signals <-chan os.Signal, write func(io.Writer) error) error {
	p, err := find(path)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer p.close()
	if p.file != nil {
		return write(p.file)
	}
	if p.older != 0 {
		secret := mode&0o077 == 0 // whoever could read the old file
		mode = p.older.Perm() | p.older.Perm()>>2&mode&0o111
		if secret {
			mode &^= 0o077
		}
	} else {
		umask := syscall.Umask(0o077) // to know it takes setting it
		syscall.Umask(umask)
		mode &^= os.FileMode(umask)
	}
	if err := p.replace(mode, signals, write); err != nil {
		if p.made { // a link led to nothing
			unix.Unlinkat(p.dir, p.base, 0)
		}
		return err
	}
	return nil
}

// replace writes a temporary file and moves it to the place.
func (p *place) replace(mode os.FileMode, signals <-chan os.Signal, write func(io.Writer) error) error {
	var random [16]byte
	if n, err := unix.Getrandom(random[:], 0); n < len(random) {
		return os.NewSyscallError("getrandom", err)
	}
	name := fmt.Sprintf(".gocat-%x", random)
	fd, err := unix.Openat(p.dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", p.path, hint(err))
	}
	f := os.NewFile(uintptr(fd), p.path)
	done := make(chan error, 1)
	go func() {
		err := write(f)
		if err == nil {
			err = f.Chmod(mode)
		}
		if err == nil {
			err = f.Close()
		}
		done <- err
	}()
	select {
	case err = <-done:
	case s := <-signals:
		unix.Unlinkat(p.dir, name, 0)
		return &Interrupted{s}
	}
	if err == nil {
		if err = unix.Renameat(p.dir, name, p.dir, p.base); err != nil {
			err = fmt.Errorf("cannot write %s: %w", p.path, err)
		}
	}
	if err != nil {
		f.Close()
		unix.Unlinkat(p.dir, name, 0)
	}
	return err
}

// hint says more of why no file can be made in a directory.
func hint(err error) error {
	switch err {
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return fmt.Errorf("%w: a file is made anew, so its directory must be writable", err)
	}
	return err
}

// Check is an error if Write could not write path, for callers that work for
// long before they write. It creates nothing.
func Check(path string) error {
	p, err := look(path)
	switch {
	case err != nil || p.file != nil:
	case p.as != nil:
		err = unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS)
	default:
		err = unix.Faccessat(p.dir, ".", unix.W_OK, unix.AT_EACCESS)
	}
	p.close()
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// Stream opens path for output that others read while it is written. The file is
// created or truncated, as by a shell's redirection.
func Stream(path string) (*os.File, error) {
	if f := standard(path); f != nil {
		return f, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		err = explain(path, err)
	}
	return f, err
}
