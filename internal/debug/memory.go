package debug

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/core"
	"gocat/internal/image"
)

// processMemory is the memory of a process, through files of /proc. They are
// opened before the confinement, whose Landlock domain the guest is not in.
type processMemory struct {
	mem, maps, pagemap *os.File
}

func openMemory(pid int) (m processMemory, err error) {
	open := func(name string, flags int) (f *os.File) {
		if err == nil {
			if f, err = os.OpenFile("/proc/"+strconv.Itoa(pid)+"/"+name, flags, 0); err != nil {
				err = fmt.Errorf("could not look at the guest's memory: %w", err)
			}
		}
		return f
	}
	m = processMemory{open("mem", os.O_RDWR), open("maps", os.O_RDONLY), open("pagemap", os.O_RDONLY)}
	return m, err
}

// read reads from addr as far as mappings go, and returns how many bytes that were.
func (m processMemory) read(addr uint64, b []byte) int {
	if addr > math.MaxInt64 {
		return 0
	}
	n, _ := m.mem.ReadAt(b, int64(addr))
	return n
}

// write writes all of b or nothing, also where the process itself may not.
func (m processMemory) write(addr uint64, b []byte) error {
	old := make([]byte, len(b))
	if m.read(addr, old) != len(b) {
		return unix.EFAULT
	}
	_, err := m.mem.WriteAt(b, int64(addr))
	return err
}

// mapping is a line of /proc/PID/maps.
type mapping struct {
	start, end uint64
	prot       image.Prot
	anonymous  bool
	path       string // or a name in brackets; "" for anonymous memory
}

// list lists the mappings in order of address.
func (m processMemory) list() (all []mapping, err error) {
	if _, err := m.maps.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	s := bufio.NewScanner(m.maps)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		from, to, _ := strings.Cut(fields[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		p := mapping{start: start, end: end, anonymous: fields[4] == "0"} // the inode of a file is not 0
		for i, prot := range []image.Prot{image.R, image.W, image.X} {
			if fields[1][i] != '-' {
				p.prot |= prot
			}
		}
		if len(fields) > 5 {
			p.path = fields[5]
		}
		all = append(all, p)
	}
	return all, s.Err()
}

// regions lists the mappings below end.
func (m processMemory) regions(end uint64) (all []core.Region, err error) {
	maps, err := m.list()
	for _, p := range maps {
		if p.start >= end {
			break
		}
		r := core.Region{Start: p.start, End: min(p.end, end), Prot: p.prot}
		if p.anonymous {
			r.Touched = m.touched(r.Start, r.End)
		}
		all = append(all, r)
	}
	return all, err
}

func (m processMemory) close() {
	for _, f := range []*os.File{m.mem, m.maps, m.pagemap} {
		f.Close()
	}
}

// touched returns a function that reports for a page in [start, end) whether it is
// in memory or swapped out. It returns nil where that cannot be known.
func (m processMemory) touched(start, end uint64) func(uint64) bool {
	const present, swapped = 1 << 63, 1 << 62 // Documentation/admin-guide/mm/pagemap.rst
	b := make([]byte, (end-start)/image.PageSize*8)
	if _, err := m.pagemap.ReadAt(b, int64(start/image.PageSize*8)); err != nil {
		return nil
	}
	return func(addr uint64) bool {
		at := (addr - start) / image.PageSize * 8
		return binary.LittleEndian.Uint64(b[at:])&(present|swapped) != 0
	}
}
