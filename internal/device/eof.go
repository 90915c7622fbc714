package device

import "fmt"

// EOF is what a guest sees when a network device's descriptor is at its end.
type EOF uint8

// EOF policies (--eof).
const (
	EOFAuto  EOF = iota // zero where a read of 0 bytes means the end; again for taps and datagrams
	EOFZero             // OK with 0 bytes
	EOFAgain            // AGAIN for ever, as upstream's hvt tender; hvt only
)

// ParseEOF parses auto, zero or again.
func ParseEOF(s string) (EOF, error) {
	switch s {
	case "auto":
		return EOFAuto, nil
	case "zero":
		return EOFZero, nil
	case "again":
		return EOFAgain, nil
	}
	return 0, fmt.Errorf("end of file policy %q: want auto, zero or again", s)
}

// String is the inverse of ParseEOF.
func (e EOF) String() string {
	switch e {
	case EOFZero:
		return "zero"
	case EOFAgain:
		return "again"
	}
	return "auto"
}

// EndsStream reports whether a read of 0 bytes from d reaches the guest as the
// end of the stream, OK with 0 bytes (true), or as AGAIN (false).
//
// EOFAuto shows an end wherever 0 bytes can mean nothing else: only a tap and a
// datagram socket, which deliver packets that may be empty, have none.
func (d *Device) EndsStream(e EOF) bool {
	switch e {
	case EOFZero:
		return true
	case EOFAgain:
		return false
	}
	return d.Kind != Tap && d.Kind != Packet
}
