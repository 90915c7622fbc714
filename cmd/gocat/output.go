package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"gocat/internal/output"
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

// raw is results for data that is not text: it refuses a terminal.
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

// writeFile writes the file at path with write, as package output does; "-" is
// standard output.
func writeFile(path string, mode os.FileMode, write func(io.Writer) error) error {
	if path == "-" {
		return raw(write)
	}
	// Before there is a file, so that none can be left over.
	signals := endings()
	defer signal.Stop(signals)
	err := output.Write(path, mode, signals, write)
	if i, ok := errors.AsType[*output.Interrupted](err); ok {
		os.Exit(statusOf(i.Signal))
	}
	return err
}

// writeDirectory makes the directory at path, which write fills, as package
// output does.
func writeDirectory(path string, write func(dir string) error) error {
	signals := endings()
	defer signal.Stop(signals)
	err := output.Directory(path, signals, write)
	if i, ok := errors.AsType[*output.Interrupted](err); ok {
		os.Exit(statusOf(i.Signal))
	}
	return err
}

// writeText is writeFile for text, which may go to a terminal.
func writeText(path string, write func(io.Writer) error) error {
	if path == "-" {
		return results(write)
	}
	return writeFile(path, 0o644, write)
}

// writable is an error if writeFile could not write path.
func writable(path string) error {
	if path == "-" {
		return nil
	}
	return output.Check(path)
}
