package x86

import "encoding/binary"

// AreaSize is that of the largest XSAVE area of States, in bytes.
const AreaSize = 2688

// Words of an XSAVE area's header, and MXCSR's bits that have a meaning.
const (
	headerSize = 64
	mxcsrBits  = 0xffff
)

// CheckArea looks at an XSAVE area in its standard form that a program will load
// with XRSTOR, and returns the states that are stored in it: some of States. It is
// false of one that the processor would refuse.
func CheckArea(b []byte) (states uint64, ok bool) {
	if len(b) < AVXOffset || len(b) > AreaSize {
		return 0, false
	}
	le := binary.LittleEndian
	header := b[LegacySize:][:headerSize]
	states = le.Uint64(header)
	for _, c := range header[8:] {
		if c != 0 {
			return states, false
		}
	}
	return states, states&^uint64(States) == 0 && le.Uint32(b[MXCSROffset:])&^mxcsrBits == 0
}
