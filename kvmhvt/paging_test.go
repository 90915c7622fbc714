package kvmhvt

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"gocat/internal/image"
)

// walk translates a linear address with the tables in sys, at the physical address
// at, as a processor does,
// and returns the physical address and the entries' combined rights.
func walk(sys []byte, at, linear uint64) (phys uint64, rights uint64, ok bool) {
	table := uint64(pml4Page * image.PageSize)
	rights = pteW | pteU
	nx := uint64(0)
	for shift := 39; ; shift -= 9 {
		index := linear >> shift & 511
		e := binary.LittleEndian.Uint64(sys[table+8*index:])
		if e&pteP == 0 {
			return 0, 0, false
		}
		rights &= e
		nx |= e & pteNX
		addr := e & 0x000ffffffffff000
		if shift == 12 || e&ptePS != 0 {
			offset := linear & (1<<shift - 1)
			return addr + offset, rights | nx, true
		}
		table = addr - at
	}
}

// randomImage makes the layout of an image with segments at random.
func randomImage(r *rand.Rand, size uint64) *image.Image {
	img := &image.Image{Target: image.HVT, Version: 2, Entry: image.MinAddr}
	at := uint64(image.MinAddr)
	for i := range r.IntN(12) {
		at += uint64(r.IntN(3)) * image.PageSize
		length := uint64(1+r.IntN(20)) * image.PageSize
		if r.IntN(4) == 0 {
			length = uint64(r.IntN(9<<20)+1) &^ (image.PageSize - 1)
		}
		if length == 0 || at+length > size {
			break
		}
		prot := []image.Prot{image.R, image.X, image.R | image.X, image.R | image.W, image.W}[r.IntN(5)]
		img.Segments = append(img.Segments, image.Segment{Index: i, Start: at, End: at + length, Vaddr: at, Memsz: length, Prot: prot})
		at += length
	}
	img.End = at
	return img
}

// TestPageTables checks the page tables of random images.
func TestPageTables(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		size := uint64(1+r.IntN(20)) * blockSize
		checkPageTables(t, randomImage(r, size), size, uint64(r.IntN(2))*ringReserve)
	}
}

// FuzzPageTables checks the page tables of any image: four bytes a segment.
func FuzzPageTables(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 1, 2, 0, 3}, uint8(1), false)
	f.Add([]byte{255, 0, 2, 2, 7, 0, 1, 3, 0, 0xff, 3, 1}, uint8(5), true)
	f.Add([]byte(nil), uint8(0), true)
	f.Fuzz(func(t *testing.T, segments []byte, blocks uint8, ring bool) {
		size, extra := (uint64(blocks%16)+1)*blockSize, uint64(0)
		if ring {
			extra = ringReserve
		}
		img := &image.Image{Target: image.HVT, Version: 2, Entry: image.MinAddr, End: image.MinAddr}
		for ; len(segments) >= 4; segments = segments[4:] {
			start := img.End + uint64(segments[0])*image.PageSize
			end := start + (1+uint64(segments[1])+uint64(segments[2]%8)<<8)*image.PageSize
			prot := []image.Prot{image.R, image.X, image.R | image.X, image.R | image.W, image.W}[segments[3]%5]
			if end > size {
				break
			}
			img.Segments = append(img.Segments, image.Segment{Start: start, End: end, Vaddr: start, Memsz: end - start, Prot: prot})
			img.End = end
		}
		checkPageTables(t, img, size, extra)
	})
}

// checkPageTables compares an image's page tables with what every page must
// allow, and what hypercalls allow with the page tables.
func checkPageTables(t *testing.T, img *image.Image, size, extra uint64) {
	t.Helper()
	l, err := newLayout(img, size, extra)
	if err != nil {
		t.Fatal(err)
	}
	sys := make([]byte, l.systemSize())
	l.pageTables(sys, 3)
	for page := uint64(0); page < l.total+4*blockSize; page += image.PageSize {
		prot := expected(img, l.total, page)
		phys, rights, ok := walk(sys, l.total, page)
		if ok != (prot != 0) || ok != l.mapped(page) {
			t.Fatalf("page %#x of %v: mapped is %v", page, prot, ok)
		}
		if page < l.size {
			if got := l.allows(page, image.PageSize, image.W); got != (prot&image.W != 0) {
				t.Fatalf("page %#x of %v: hypercalls may write: %v", page, prot, got)
			}
		} else if l.allows(page, 1, image.R) {
			t.Fatalf("page %#x past %#x can be read by hypercalls", page, l.size)
		}
		if !ok {
			continue
		}
		if phys != page || rights&pteU == 0 || rights&pteW != 0 != (prot&image.W != 0) || rights&pteNX == 0 != (prot&image.X != 0) {
			t.Fatalf("page %#x of %v: at %#x with %#x", page, prot, phys, rights)
		}
	}
}

// expected is the protection of a page by the rules alone.
func expected(img *image.Image, total, page uint64) image.Prot {
	switch {
	case page < lowStart || page >= total:
		return 0
	case page < minBase:
		return image.R
	}
	for _, s := range img.Segments {
		if page >= s.Start && page < s.End {
			return s.Prot | image.R
		}
	}
	return image.R | image.W
}

// TestSystemArea shows that the guest's level reaches nothing of the system
// area and that the page tables are mapped nowhere.
func TestSystemArea(t *testing.T) {
	l, err := newLayout(&image.Image{Version: 2, End: image.MinAddr}, 4<<30, 0)
	if err != nil {
		t.Fatal(err)
	}
	sys := make([]byte, l.systemSize())
	l.pageTables(sys, 3)
	for page := range uint64(512) {
		phys, rights, ok := walk(sys, l.total, systemLinear+page*image.PageSize)
		if ok != (page <= stackPage) {
			t.Errorf("page %d: mapped is %v", page, ok)
		}
		if ok && (rights&pteU != 0 || phys != l.total+page*image.PageSize || rights&pteW != 0 != (page == stackPage) || rights&pteNX == 0 != (page == tablesPage)) {
			t.Errorf("page %d: %#x with %#x", page, phys, rights)
		}
	}
	// 4 GiB in 2 MiB pages, except the first: one page table.
	if got := l.systemSize() / image.PageSize; got != ptPage+1 {
		t.Errorf("system area of %d pages for 4 GiB", got)
	}
}

func TestRoundMemory(t *testing.T) {
	for size, want := range map[uint64]uint64{0: 2 << 20, 1 << 20: 2 << 20, 3 << 20: 2 << 20, 512 << 20: 512 << 20, 4<<30 - 1: 4<<30 - 2<<20} {
		if got := RoundMemory(size); got != want {
			t.Errorf("%d is rounded to %d, want %d", size, got, want)
		}
	}
}

func TestLayoutRefuses(t *testing.T) {
	for _, tt := range []struct {
		name        string
		version     uint32
		size, extra uint64
		end         uint64
		ok          bool
	}{
		{"nothing", 2, 0, 0, minBase, false},
		{"odd", 2, 3 << 20, 0, minBase, false},
		{"most", 2, 4 << 30, 0, minBase, true},
		{"most with a ring", 2, 4 << 30, ringReserve, minBase, true},
		{"too much", 2, 4<<30 + blockSize, 0, minBase, false},
		{"most of ABI 1", 1, 1 << 30, 0, minBase, true},
		{"too much for ABI 1", 1, 1<<30 + blockSize, 0, minBase, false},
		{"least", 2, blockSize, ringReserve, minBase, true},
		{"image too large", 2, blockSize, 0, blockSize + 4096, false},
	} {
		l, err := newLayout(&image.Image{Version: tt.version, End: tt.end}, tt.size, tt.extra)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil && (l.total-l.size != tt.extra || l.total > maxMemory) {
			t.Errorf("%s: %#x of %#x", tt.name, l.size, l.total)
		}
	}
}
