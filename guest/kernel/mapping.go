package kernel

// A shared mapping of a file is the file's own memory: what is written through the
// one is there through the other. So a file does not move while it is mapped.

// mapping is a shared mapping of a file, in whole pages.
type mapping struct {
	addr, n uintptr
	node    int32
	writes  bool
}

const maxMappings = 256

var (
	mappings  [maxMappings]mapping
	nMappings int
)

// mapFile is mmap of a file. A private mapping is a copy, and so is a shared one of a
// file that nobody can change, or that the program reads at the same place already:
// Go's Munmap knows a mapping by its address.
func mapFile(addr, n uintptr, prot, flags, fd, offset uint64) int64 {
	const write, most = 2, 1 << 40
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	access := f.shared().access
	shared, writes := flags&mapShared != 0, prot&write != 0
	switch {
	case f.kind != regular:
		return errNODEV
	case n == 0 || offset%pageSize != 0:
		return errINVAL
	case n > most || offset > most:
		return errNOMEM
	case access == openWrite || shared && writes && access != openReadWrt:
		return errACCES
	}
	d := at(f.node)
	if shared && !d.fixed {
		if flags&(mapFixed|mapNoReplace) != 0 {
			return errNODEV
		}
		p := d.share(f.node, pageUp(n), uintptr(offset), writes)
		if p != errEXIST || access != openRead {
			return p
		}
	}
	p := mmap(addr, n, 3, flags|mapAnonymous)
	if p >= 0 {
		d.readAt(uintptr(p), n, offset)
	}
	return p
}

// share returns the address of a shared mapping, or errEXIST if there is one with the
// same end.
func (d *node) share(i int32, n, offset uintptr, writes bool) int64 {
	if nMappings == maxMappings {
		return errNOMEM
	}
	end := offset + n
	if d.packed && d.reserve(max(d.size, 1)) < 0 || d.reserve(end) < 0 {
		return errNOMEM
	}
	if d.maps == 0 {
		d.settle()
	}
	addr := d.data + offset
	for _, m := range mappings[:nMappings] {
		if m.addr+m.n == addr+n {
			return errEXIST
		}
	}
	mappings[nMappings] = mapping{addr, n, i, writes}
	nMappings++
	d.opens++
	d.maps++
	if writes {
		d.writes++
	}
	return int64(addr)
}

// settle moves a file that is going to be mapped to where it has most room to grow.
func (d *node) settle() {
	start, end := memory.largest()
	half := (end - start) / 2
	if end-start < d.room || half <= memory.behind(d.data+d.room) {
		return
	}
	to := start + min(half, end-start-d.room)&^(pageSize-1)
	if mmap(to, d.room, 3, mapAnonymous|mapFixed) < 0 {
		return
	}
	move(to, d.data, d.size)
	munmap(d.data, d.room)
	d.data = to
}

// extend gives a file that is mapped memory for n bytes where it is.
func (d *node) extend(n uintptr) int64 {
	more := n - d.room
	if !take(more) {
		return errNOSPC
	}
	next := d.data + d.room
	if !memory.contains(next, more) || !memory.free(next, more) || !memory.set(next, more, false) {
		fsUsed -= more
		return errNOSPC
	}
	d.room = n
	return 0
}

// clearBehind makes what a program has written behind the end of a file zero, up to n
// bytes, before the file grows.
func (d *node) clearBehind(n uintptr) {
	if d.writes > 0 && n > d.size {
		zero(d.data+d.size, n-d.size)
	}
}

// mapped says whether a part of [addr, addr+n) is a shared mapping.
func mapped(addr, n uintptr) bool {
	for _, m := range mappings[:nMappings] {
		if addr < m.addr+m.n && (m.addr <= addr || m.addr-addr < n) {
			return true
		}
	}
	return false
}

// unmap is munmap. A shared mapping is taken away as a whole.
func unmap(addr, n uintptr) int64 {
	for i, m := range mappings[:nMappings] {
		if m.addr != addr || m.n != pageUp(n) {
			continue
		}
		nMappings--
		mappings[i] = mappings[nMappings]
		d := at(m.node)
		if m.writes {
			d.clearBehind(m.addr + m.n - d.data)
			d.writes--
			d.mtime = wall()
		}
		d.maps--
		d.opens--
		discard(m.node)
		return 0
	}
	if mapped(addr, n) {
		return errINVAL
	}
	return munmap(addr, n)
}
