package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// results lets print write to standard output, and reports what cannot be
// written there. (A closed pipe ends the process, as it does every filter.)
func results(print func(io.Writer) error) error {
	out := bufio.NewWriter(os.Stdout)
	if err := print(out); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// printJSON prints v indented.
func printJSON(v any) error {
	return results(func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	})
}

// raw is results for what is not text: it refuses a terminal.
func raw(print func(io.Writer) error) error {
	if isTerminal(os.Stdout) {
		return errors.New("standard output is a terminal, and this is binary: redirect it")
	}
	return results(print)
}

// printer prints formatted text until the first error, which it keeps.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// writeFile makes the file at path of what write writes, as a whole or not at
// all: it appears, or takes the place of an older one, when it is complete. A
// link is followed. A path that is something else than a file, as /dev/null, is
// written to; "-" is standard output.
func writeFile(path string, mode os.FileMode, write func(io.Writer) error) error {
	if path == "-" {
		return raw(write)
	}
	path, special, err := destination(path)
	switch {
	case err != nil:
		return err
	case special:
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(write(f), f.Close())
	}
	return replace(path, mode, write)
}

// writable is an error if writeFile could not write path, for those who work for
// long before they do.
func writable(path string) error {
	if path == "-" {
		return nil
	}
	target, special, err := destination(path)
	if err != nil {
		return err
	}
	if !special {
		target = filepath.Dir(target) + "/." // where it is made anew
	}
	if err := unix.Access(target, unix.W_OK); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

// destination is where path leads, and whether that is something else than a
// file.
func destination(path string) (target string, special bool, err error) {
	if path == "" {
		return "", false, errors.New("no file to write to: name one")
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return path, false, nil
	case info.IsDir():
		return "", false, fmt.Errorf("%s is a directory: name a file", path)
	}
	return path, !info.Mode().IsRegular(), nil
}

// replace writes a temporary file and moves it to path. A signal that ends the
// process meanwhile also removes the file.
func replace(path string, mode os.FileMode, write func(io.Writer) error) error {
	// Before there is a file, so that none can be left behind.
	signals := endings()
	defer signal.Stop(signals)
	f, err := os.CreateTemp(filepath.Dir(path), ".gocat-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	done := make(chan error, 1)
	go func() { done <- finish(f, path, mode, write) }()
	select {
	case err = <-done:
	case s := <-signals:
		os.Remove(f.Name())
		os.Exit(statusOf(s))
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
	}
	return err
}

// finish writes the temporary file f and moves it to path.
func finish(f *os.File, path string, mode os.FileMode, write func(io.Writer) error) error {
	if err := write(f); err != nil {
		return err
	}
	umask := syscall.Umask(0o077) // to know it takes setting it
	syscall.Umask(umask)
	if err := f.Chmod(mode &^ os.FileMode(umask)); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
