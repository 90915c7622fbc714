package trace

import (
	"io"
	"strconv"

	"gocat/internal/image"
)

// symbols names the functions of an image.
type symbols struct {
	file  io.ReaderAt
	image []byte // file, once it is wanted
	known map[uint64]string
}

// maxImage bounds how much of an image is read for its symbols, in bytes.
const maxImage = 256 << 20

// maxKnown bounds the names that are kept: the addresses come from the guest.
const maxKnown = 4096

// at returns the function that guest address addr is in, as NAME+0xOFFSET, or
// "" when the image does not say.
func (s *symbols) at(addr uint64) string {
	if name, ok := s.known[addr]; ok {
		return name
	}
	if len(s.known) >= maxKnown || s.known == nil {
		s.known = map[uint64]string{}
	}
	if s.image == nil {
		// An error leaves what was read: no symbols, then.
		s.image, _ = io.ReadAll(io.NewSectionReader(s.file, 0, maxImage))
	}
	name := ""
	if function, offset := image.FunctionAt(s.image, addr); function != nil {
		name = string(function) + "+0x" + strconv.FormatUint(offset, 16)
	}
	s.known[addr] = name
	return name
}
