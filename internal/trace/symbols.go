package trace

import (
	"io"
	"strconv"

	"gocat/internal/image"
)

// symbols names the functions of an image.
type symbols struct {
	file  io.ReaderAt
	known map[uint64]string
}

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
	name, offset := image.FunctionAt(s.file, addr)
	if name != "" {
		name += "+0x" + strconv.FormatUint(offset, 16)
	}
	s.known[addr] = name
	return name
}
