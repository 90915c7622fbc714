package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"

	"gocat/internal/image"
	"gocat/internal/ptrace"
	"gocat/internal/raw"
	"gocat/internal/x86"
	"gocat/spt"
)

// take records the guest's state, at the entry of a system call.
func (b *boot) take() (*spt.Warm, error) {
	w := &spt.Warm{Alarm: b.alarm, Clock: b.clock, Processor: x86.ThisProcessor()}
	if id, err := os.ReadFile(raw.BootID); err == nil && len(id) >= 16 {
		words(w.Boot[:], id[:16])
	}
	r, _, err := ptrace.Registers(b.pid)
	if err != nil {
		return nil, fmt.Errorf("could not read the guest's registers: %w", err)
	}
	// As before the instruction, which has the number of the call in RAX.
	const instruction = 2 // bytes
	r.RIP -= instruction
	r.General[x86.RAX] = b.call.Words[0]
	w.Registers = *r
	w.Registers.Extended = x86.Extended{} // State has all of them
	if w.State, err = state(b.pid, &w.Processor); err != nil {
		return nil, err
	}
	mem, err := os.Open("/proc/" + strconv.Itoa(b.pid) + "/mem")
	if err != nil {
		return nil, fmt.Errorf("could not read the guest's memory: %w", err)
	}
	pagemap, err := os.Open("/proc/" + strconv.Itoa(b.pid) + "/pagemap")
	if err != nil {
		return nil, fmt.Errorf("could not read the guest's memory: %w", err)
	}
	defer pagemap.Close()
	if err := untouched(mem); err != nil {
		return nil, err
	}
	c := b.config
	var pages [][]run
	for _, region := range spt.Regions(c.Image, c.Memory, c.ExecHeap) {
		more, err := scan(mem, pagemap, region)
		if err != nil {
			return nil, fmt.Errorf("could not read the guest's memory: %w", err)
		}
		pages = append(pages, more)
	}
	for _, p := range merge(pages) {
		w.Memory = append(w.Memory, spt.Range{Addr: p.start, Size: p.end - p.start, File: mem, Offset: p.start})
	}
	return w, nil
}

// words reads little-endian words, if there are as many.
func words(to []uint64, from []byte) {
	if len(from) == 8*len(to) {
		for i := range to {
			to[i] = binary.LittleEndian.Uint64(from[8*i:])
		}
	}
}

// statePKRU is the bit of XCR0 of the register of protection keys, and keysDefault what
// Linux has in it.
const (
	statePKRU   = 9
	keysDefault = 0x55555554
)

// state returns the XSAVE area of the process, as far as it is used.
func state(pid int, p *x86.Processor) ([]byte, error) {
	area, err := ptrace.Area(pid)
	if err != nil {
		return nil, fmt.Errorf("could not read the guest's registers: %w", err)
	}
	return normal(area, p)
}

// normal returns an XSAVE area as far as it is used, without what is chance.
func normal(area []byte, p *x86.Processor) ([]byte, error) {
	le := binary.LittleEndian
	stored := le.Uint64(area[x86.LegacySize:])
	if stored>>statePKRU&1 != 0 {
		at := x86.CPUID(x86.StatesLeaf, statePKRU)[x86.EBX]
		if int(at)+4 > len(area) || le.Uint32(area[at:]) != keysDefault {
			return nil, errors.New("the guest uses protection keys, which a snapshot does not hold")
		}
		stored &^= 1 << statePKRU
	}
	if stored&^p.States != 0 {
		return nil, fmt.Errorf("the guest uses registers (states %#x) that a snapshot does not hold", stored&^p.States)
	}
	end := x86.AVXOffset
	for n := 1; n <= x86.StateLast; n++ {
		if stored>>n&1 == 0 {
			continue
		}
		from, to := x86.XMMOffset, x86.XMMOffset+16*16
		if n > 1 {
			r := x86.CPUID(x86.StatesLeaf, uint32(n)) // size, offset
			from, to = int(r[x86.EBX]), int(r[x86.EAX]+r[x86.EBX])
		}
		if to > len(area) {
			return nil, errors.New("could not read the guest's registers: the XSAVE area is too short")
		}
		// Whether the processor stores what is as at the start is chance: it may know
		// that, or not. Snapshots of the same are to be the same.
		if len(bytes.Trim(area[from:to], "\x00")) == 0 {
			stored &^= 1 << n
		} else {
			end = max(end, to)
		}
	}
	area = bytes.Clone(area[:end])
	clear(area[464:x86.LegacySize]) // the kernel's own
	clear(area[x86.LegacySize:x86.AVXOffset])
	le.PutUint64(area[x86.LegacySize:], stored)
	return area, nil
}

// run is a range of pages.
type run struct{ start, end uint64 }

var zeros [image.PageSize]byte

// untouched says whether the guest has left alone what it must not change.
func untouched(mem *os.File) error {
	page := make([]byte, image.PageSize)
	for _, part := range spt.Unused() {
		for at := part[0]; at < part[1]; at += image.PageSize {
			if _, err := mem.ReadAt(page, int64(at)); err == nil && !bytes.Equal(page, zeros[:]) {
				return fmt.Errorf("the guest has written to %#x, where gocat's own memory is when it starts: no Solo5 guest does", at)
			}
		}
	}
	return nil
}

// scan returns the pages of a region that are not zero. Of memory that comes from no
// file it reads what the guest has touched.
func scan(mem, pagemap *os.File, r spt.Region) (pages []run, err error) {
	const chunk = 256                         // pages
	const entry = 8                           // bytes of pagemap, for a page
	const present, swapped = 1 << 63, 1 << 62 // Documentation/admin-guide/mm/pagemap.rst
	buf, entries := make([]byte, chunk*image.PageSize), make([]byte, chunk*entry)
	for at := r.Start; at < r.End; at += chunk * image.PageSize {
		n := min(chunk, (r.End-at)/image.PageSize)
		if _, err := pagemap.ReadAt(entries[:n*entry], int64(at/image.PageSize*entry)); err != nil {
			return nil, err
		}
		touched := false
		for i := range n {
			touched = touched || binary.LittleEndian.Uint64(entries[i*entry:])&(present|swapped) != 0
		}
		if !touched && r.Heap {
			continue
		}
		b := buf[:n*image.PageSize]
		if _, err := mem.ReadAt(b, int64(at)); err != nil {
			return nil, err
		}
		for i := range n {
			page := b[i*image.PageSize:][:image.PageSize]
			if bytes.Equal(page, zeros[:]) {
				continue
			}
			start := at + i*image.PageSize
			if last := len(pages) - 1; last >= 0 && pages[last].end == start {
				pages[last].end += image.PageSize
			} else {
				pages = append(pages, run{start, start + image.PageSize})
			}
		}
	}
	return pages, nil
}

// Each range of memory is mapped by a call of its own when the guest starts, and so
// is each gap between two. So small gaps are filled with zeros: up to leastGap pages,
// and as many more as it takes to have at most mostRanges.
const (
	leastGap   = 16
	mostRanges = 48
)

// merge joins ranges of pages of each region that have small gaps between them.
func merge(regions [][]run) (all []run) {
	for gap := uint64(leastGap); ; gap *= 2 {
		all = nil
		for _, pages := range regions {
			first := len(all)
			for _, p := range pages {
				if last := len(all) - 1; last >= first && p.start-all[last].end <= gap*image.PageSize {
					all[last].end = p.end
				} else {
					all = append(all, p)
				}
			}
		}
		if len(all) <= mostRanges || gap > 1<<32 {
			return all
		}
	}
}
