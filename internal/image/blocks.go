package image

// BlockSize is the size in bytes of what one huge page holds.
const BlockSize = 2 << 20

// Filled returns the next blocks from the address at on of which the image's contents
// fill more than half: there one huge page costs less time than 512 others, and
// little more memory. start and end are multiples of BlockSize, and equal if there
// are none.
func (i *Image) Filled(at uint64) (start, end uint64) {
	for start = at &^ (BlockSize - 1); start < i.End && !i.fills(start); {
		start += BlockSize
	}
	for end = start; end < i.End && i.fills(end); {
		end += BlockSize
	}
	return start, end
}

// fills says whether contents fill more than half of the block at start.
func (i *Image) fills(start uint64) bool {
	n := uint64(0)
	for k := range i.Segments {
		s := &i.Segments[k]
		if from, to := max(s.Vaddr, start), min(s.Vaddr+s.Filesz, start+BlockSize); from < to {
			n += to - from
		}
	}
	return n > BlockSize/2
}
