package image

import "testing"

func TestFilled(t *testing.T) {
	const half = BlockSize / 2
	img := func(s ...Segment) *Image {
		return &Image{Segments: s, End: (s[len(s)-1].End + BlockSize) &^ (PageSize - 1)}
	}
	seg := func(vaddr, size uint64) Segment {
		return Segment{Start: vaddr &^ (PageSize - 1), End: vaddr + size, Vaddr: vaddr, Filesz: size, Memsz: size}
	}
	for name, c := range map[string]struct {
		img        *Image
		start, end uint64
	}{
		"half":             {img(seg(MinAddr, half)), 0, 0},
		"a byte more":      {img(seg(2*BlockSize, half+1)), 2, 3},
		"two together":     {img(seg(BlockSize, half/2), seg(BlockSize+half, half/2+1)), 1, 2},
		"across, neither":  {img(seg(2*BlockSize-half, 2*half)), 0, 0},
		"across, second":   {img(seg(2*BlockSize-half, 2*half+1)), 2, 3},
		"several":          {img(seg(BlockSize-1, 3*BlockSize)), 1, 4},
		"hole, then again": {img(seg(BlockSize, BlockSize), seg(5*BlockSize, BlockSize)), 1, 2},
		"bss":              {img(Segment{Start: BlockSize, End: 4 * BlockSize, Vaddr: BlockSize, Filesz: half, Memsz: 3 * BlockSize}), 0, 0},
	} {
		start, end := c.img.Filled(0)
		if c.start == c.end {
			if start != end {
				t.Errorf("%s: %#x to %#x, want none", name, start, end)
			}
			continue
		}
		if start != c.start*BlockSize || end != c.end*BlockSize {
			t.Errorf("%s: %#x to %#x, want blocks %d to %d", name, start, end, c.start, c.end)
		}
		if again, _ := c.img.Filled(start + 1); again != start {
			t.Errorf("%s: from its middle %#x, want %#x", name, again, start)
		}
		if name == "hole, then again" {
			if start, end = c.img.Filled(end); start != 5*BlockSize || end != 6*BlockSize {
				t.Errorf("%s: then %#x to %#x", name, start, end)
			}
		} else if start, end = c.img.Filled(end); start != end {
			t.Errorf("%s: then %#x to %#x", name, start, end)
		}
	}
}
