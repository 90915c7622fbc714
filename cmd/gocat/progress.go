package main

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// progress is a line on a terminal that says how far a command is. On anything
// else it says nothing.
type progress struct {
	to   *os.File // nil: not a terminal
	last time.Time
	used bool
}

// newProgress makes a progress line on to.
func newProgress(to *os.File) *progress {
	if !isTerminal(to) {
		return &progress{}
	}
	return &progress{to: to}
}

// show replaces the line, not more than ten times a second. Text that does not
// fit is cut, for a line that wraps could not be replaced.
func (p *progress) show(text string) {
	if p.to == nil || time.Since(p.last) < 100*time.Millisecond {
		return
	}
	p.last, p.used = time.Now(), true
	width := 80
	if size, err := unix.IoctlGetWinsize(int(p.to.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		width = int(size.Col)
	}
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
