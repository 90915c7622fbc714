package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// stop is an error that ends the guest: a message of one line, and the status.
type stop struct {
	status int
	signal int // signal that is the cause, or 0
	reason string
	rip    uint64 // where the guest was, if that says more; else 0
}

func (s *stop) Error() string { return s.reason }

// line is a message that is being written. It has a fixed size, for while a guest
// runs nothing can be allocated; what does not fit is cut.
type line struct {
	n int
	b [1000]byte
}

// reason and lastStop are those of the guest that ends: a process has one.
var (
	reason   line
	lastStop stop
)

// because begins the reason for which the guest is ended.
func because(text string) *line {
	reason.n = 0
	return reason.text(text)
}

// text appends s.
func (l *line) text(s string) *line {
	l.n += copy(l.b[l.n:], s)
	return l
}

// clean appends s without what is not printable.
func (l *line) clean(s string) *line {
	for i := 0; i < len(s) && l.n < len(l.b); i++ {
		l.b[l.n] = s[i]
		if s[i] < ' ' || s[i] == 0x7f {
			l.b[l.n] = '?'
		}
		l.n++
	}
	return l
}

// decimal appends v in decimal.
func (l *line) decimal(v uint64) *line {
	var digits [20]byte
	i := len(digits)
	for {
		i--
		digits[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			break
		}
	}
	l.n += copy(l.b[l.n:], digits[i:])
	return l
}

// hex appends v in hexadecimal, with 0x.
func (l *line) hex(v uint64) *line {
	l.text("0x")
	first := 60
	for first > 0 && v>>first == 0 {
		first -= 4
	}
	for ; first >= 0; first -= 4 {
		l.digit(byte(v >> first & 15))
	}
	return l
}

// bytes appends b in hexadecimal, with spaces between.
func (l *line) bytes(b []byte) *line {
	for i, v := range b {
		if i > 0 {
			l.text(" ")
		}
		l.digit(v >> 4)
		l.digit(v & 15)
	}
	return l
}

func (l *line) digit(v byte) {
	if l.n < len(l.b) {
		l.b[l.n] = "0123456789abcdef"[v&15]
		l.n++
	}
}

// errno appends what an error number means.
func (l *line) errno(e unix.Errno) *line { return l.text(e.Error()) }

// string returns what was written. It is valid until more is.
func (l *line) string() string { return raw.String(l.b[:l.n]) }

// err returns the error with the reason that was written.
func (l *line) err() error { return l.errAt(0) }

// errAt is err for what an instruction of the guest did.
func (l *line) errAt(rip uint64) error {
	lastStop = stop{status: 1, reason: l.string(), rip: rip}
	return &lastStop
}
