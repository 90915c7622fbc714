package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// columns is the width of a terminal, 0 of anything else.
func columns(f *os.File) int {
	if !isTerminal(f) {
		return 0
	}
	if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		return int(size.Col)
	}
	return 80
}

// progress is a line on a terminal that shows how far a command has come.
// Elsewhere it shows nothing.
type progress struct {
	to   *os.File
	used bool
}

// show replaces the line. Text that does not fit is cut, for a line that wraps
// could not be replaced.
func (p *progress) show(text string) {
	width := columns(p.to)
	if width == 0 {
		return
	}
	p.used = true
	if len(text) >= width {
		text = text[:width-1]
	}
	p.to.WriteString("\r\x1b[K" + text)
}

// clear removes the line.
func (p *progress) clear() {
	if p.used {
		p.to.WriteString("\r\x1b[K")
	}
}
