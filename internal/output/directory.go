package output

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Directory makes the directory at path, whole or not at all. The function
// write fills a temporary directory, which is then moved there. An empty
// directory may be there before, but no link. Signals are as with Write.
func Directory(path string, signals <-chan os.Signal, write func(dir string) error) error {
	path = filepath.Clean(path)
	if err := vacant(path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	temp, err := os.MkdirTemp(filepath.Dir(path), ".gocat-")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, hint(errors.Unwrap(err)))
	}
	defer os.RemoveAll(temp)
	done := make(chan error, 1)
	// One below it, which has the mode that the umask gives.
	made := filepath.Join(temp, "made")
	go func() {
		err := os.Mkdir(made, 0o777)
		if err == nil {
			err = write(made)
		}
		done <- err
	}()
	select {
	case err = <-done:
	case s := <-signals:
		return &Interrupted{s}
	}
	if err != nil {
		return err
	}
	// The kernel lets a directory take the place of an empty one; package os does not.
	if err := unix.Rename(made, path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// vacant is an error if path exists and is not an empty directory.
func vacant(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return errors.Unwrap(err)
	case !info.IsDir():
		return errors.New("it is there and no directory: name another")
	}
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	if _, err := f.Readdirnames(1); err != io.EOF {
		return errors.New("the directory is not empty: name another, or empty it")
	}
	return nil
}
