package gdb

import (
	"bytes"
	"encoding/hex"
)

// scanner reads the fields of a packet. What is not there, or is malformed, makes
// it bad for good, which the caller asks once at the end.
type scanner struct {
	rest []byte
	bad  bool
}

// number reads hexadecimal digits, at most sixteen.
func (s *scanner) number() (n uint64) {
	i := 0
	for ; i < len(s.rest); i++ {
		d, ok := hexDigit(s.rest[i])
		if !ok {
			break
		}
		if i == 16 {
			s.bad = true
			return 0
		}
		n = n<<4 | uint64(d)
	}
	s.bad = s.bad || i == 0
	s.rest = s.rest[i:]
	return n
}

// skip reads the byte c.
func (s *scanner) skip(c byte) {
	if len(s.rest) == 0 || s.rest[0] != c {
		s.bad = true
		return
	}
	s.rest = s.rest[1:]
}

// bytes reads the rest as hexadecimal digits, two a byte.
func (s *scanner) bytes() []byte {
	b := make([]byte, hex.DecodedLen(len(s.rest)))
	if _, err := hex.Decode(b, s.rest); err != nil {
		s.bad = true
	}
	s.rest = nil
	return b
}

// end says that nothing may be left.
func (s *scanner) end() bool { return !s.bad && len(s.rest) == 0 }

// cut splits a packet's name from what follows the first of separators.
func cut(p []byte, separators string) (name string, rest []byte) {
	if i := bytes.IndexAny(p, separators); i >= 0 {
		return string(p[:i]), p[i+1:]
	}
	return string(p), nil
}
