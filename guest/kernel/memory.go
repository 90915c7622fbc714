package kernel

// pageSize is the unit of memory in bytes.
const pageSize = 4096

// maxRegions bounds the pieces that the memory can be in. Neighbours of one kind
// are one piece, so a program of any size has some tens.
const maxRegions = 1024

// region is a piece of mapped memory. What lies between regions is free.
// Free and reserved memory is zero.
type region struct {
	start, end uintptr
	reserved   bool // mapped without access: nothing was written there
}

// space is the memory that mmap gives out: [base, limit). regions are in
// ascending order and do not overlap.
type space struct {
	base, limit uintptr
	n           int
	regions     [maxRegions]region
}

var memory space

func pageUp(n uintptr) uintptr { return (n + pageSize - 1) &^ (pageSize - 1) }

// first returns the index of the first region that ends after addr.
func (s *space) first(addr uintptr) int {
	lo, hi := 0, s.n
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if s.regions[m].end > addr {
			hi = m
		} else {
			lo = m + 1
		}
	}
	return lo
}

// contains says whether [addr, addr+n) lies in the space and n is not 0.
func (s *space) contains(addr, n uintptr) bool {
	return n > 0 && addr >= s.base && addr < s.limit && n <= s.limit-addr
}

// free says whether nothing in [addr, addr+n) is mapped.
func (s *space) free(addr, n uintptr) bool {
	i := s.first(addr)
	return i == s.n || s.regions[i].start >= addr+n
}

// LogArena says how large an arena of Go's heap is, in bytes: 1<<LogArena. gocat
// build sets it in package runtime.
const LogArena = 22

// arenas returns the part of [start, end) in which whole arenas lie. It is empty if
// end is not the greater.
func arenas(start, end uintptr) (from, to uintptr) {
	const arena = 1 << LogArena
	return (start + arena - 1) &^ (arena - 1), end &^ (arena - 1)
}

// find returns the address of n free bytes, or 0. Arenas begin at multiples of their
// size if there is room, as Go's heap needs them. Everything else goes where it takes
// no room from an arena, or else where the least is free.
func (s *space) find(n uintptr) (addr uintptr) {
	var edge, least uintptr
	at := s.base
	for i := range s.n + 1 {
		next := s.limit
		if i < s.n {
			next = s.regions[i].start
		}
		from, to := arenas(at, next)
		switch free := next - at; {
		case free < n:
		case n%(1<<LogArena) == 0 && from < to && to-from >= n:
			return from
		case edge == 0 && (from >= to || n <= from-at):
			edge = at
		case edge == 0 && n <= next-to:
			edge = to
		case addr == 0 || free < least:
			addr, least = at, free
		}
		if i < s.n {
			at = s.regions[i].end
		}
	}
	if edge != 0 {
		return edge
	}
	return addr
}

// largest returns the largest range that is free.
func (s *space) largest() (start, end uintptr) {
	at := s.base
	for i := range s.n + 1 {
		next := s.limit
		if i < s.n {
			next = s.regions[i].start
		}
		if next-at > end-start {
			start, end = at, next
		}
		if i < s.n {
			at = s.regions[i].end
		}
	}
	return start, end
}

// behind returns how many bytes from addr on are free.
func (s *space) behind(addr uintptr) uintptr {
	i := s.first(addr)
	switch {
	case i == s.n:
		return s.limit - addr
	case s.regions[i].start > addr:
		return s.regions[i].start - addr
	}
	return 0
}

// insert makes room for m regions at index i and says whether there is any.
func (s *space) insert(i, m int) bool {
	if s.n+m > maxRegions {
		return false
	}
	copy(s.regions[i+m:s.n+m], s.regions[i:s.n])
	s.n += m
	return true
}

func (s *space) remove(i, j int) {
	copy(s.regions[i:], s.regions[j:s.n])
	s.n -= j - i
}

// set maps [addr, addr+n), zeroed, whatever it was before. It fails, having done
// nothing, when there might be too many regions: a new one in the middle of
// another turns one into three.
func (s *space) set(addr, n uintptr, reserved bool) bool {
	if s.n+2 > maxRegions || !s.unset(addr, n) {
		return false
	}
	i := s.first(addr)
	end := addr + n
	before := i > 0 && s.regions[i-1].end == addr && s.regions[i-1].reserved == reserved
	after := i < s.n && s.regions[i].start == end && s.regions[i].reserved == reserved
	switch {
	case before && after:
		s.regions[i-1].end = s.regions[i].end
		s.remove(i, i+1)
	case before:
		s.regions[i-1].end = end
	case after:
		s.regions[i].start = addr
	default:
		s.insert(i, 1)
		s.regions[i] = region{addr, end, reserved}
	}
	return true
}

// unset frees [addr, addr+n). It fails, having done nothing, when there would be
// too many regions.
func (s *space) unset(addr, n uintptr) bool {
	end := addr + n
	i := s.first(addr)
	if i == s.n || s.regions[i].start >= end {
		return true
	}
	if r := &s.regions[i]; r.start < addr && r.end > end { // a hole in the middle
		if !s.insert(i, 1) {
			return false
		}
		s.regions[i].end = addr
		s.regions[i+1].start = end
		if !s.regions[i].reserved {
			zero(addr, n)
		}
		return true
	}
	if r := &s.regions[i]; r.start < addr {
		if !r.reserved {
			zero(addr, r.end-addr)
		}
		r.end = addr
		i++
	}
	j := i
	for j < s.n && s.regions[j].end <= end {
		if r := &s.regions[j]; !r.reserved {
			zero(r.start, r.end-r.start)
		}
		j++
	}
	s.remove(i, j)
	if i < s.n && s.regions[i].start < end {
		r := &s.regions[i]
		if !r.reserved {
			zero(r.start, end-r.start)
		}
		r.start = end
	}
	return true
}

// forget zeroes what is accessible in [addr, addr+n).
func (s *space) forget(addr, n uintptr) {
	end := addr + n
	for i := s.first(addr); i < s.n && s.regions[i].start < end; i++ {
		if r := &s.regions[i]; !r.reserved {
			from, to := max(r.start, addr), min(r.end, end)
			zero(from, to-from)
		}
	}
}

// Flags of mmap and advice of madvise (Linux asm-generic/mman.h).
const (
	mapShared    = 0x01
	mapFixed     = 0x10
	mapAnonymous = 0x20
	mapNoReplace = 0x100000

	adviceDontNeed = 4
)

func mmap(addr, n uintptr, prot, flags uint64) int64 {
	if n == 0 || flags&mapAnonymous == 0 || addr%pageSize != 0 {
		return errINVAL
	}
	s := &memory
	if n > s.limit-s.base {
		return errNOMEM
	}
	n = pageUp(n)
	if flags&(mapFixed|mapNoReplace) != 0 {
		if !s.contains(addr, n) {
			return errNOMEM
		}
		if flags&mapNoReplace != 0 && !s.free(addr, n) {
			return errEXIST
		}
	} else if !s.contains(addr, n) || !s.free(addr, n) {
		if addr = s.find(n); addr == 0 {
			return errNOMEM
		}
	}
	if !s.set(addr, n, prot == 0) {
		return errNOMEM
	}
	return int64(addr)
}

func munmap(addr, n uintptr) int64 {
	if addr%pageSize != 0 || n == 0 || n > memory.limit {
		return errINVAL
	}
	n = pageUp(n)
	if !memory.contains(addr, n) {
		return errINVAL
	}
	if !memory.unset(addr, n) {
		return errNOMEM
	}
	return 0
}

// madvise knows one advice: memory that is not needed reads as zero afterwards,
// on which Go's allocator relies.
func madvise(addr, n uintptr, advice uint64) int64 {
	if addr%pageSize != 0 {
		return errINVAL
	}
	if advice == adviceDontNeed && n > 0 && n <= memory.limit {
		if n = pageUp(n); !memory.contains(addr, n) {
			return errNOMEM
		}
		memory.forget(addr, n)
	}
	return 0
}

// protExec is PROT_EXEC, which a program's memory can never have. Refusing it lets
// wazero, for one, fall back on its interpreter.
const protExec = 4

// mprotect only makes reserved memory usable: there is no protection.
func mprotect(addr, n uintptr, prot uint64) int64 {
	if prot&protExec != 0 {
		return errACCES
	}
	if addr%pageSize != 0 || n > memory.limit {
		return errINVAL
	}
	n = pageUp(n)
	if prot == 0 || !memory.contains(addr, n) {
		return 0
	}
	// Reserved memory that becomes accessible may be written to from now on.
	for at := addr; at < addr+n; {
		i := memory.first(at)
		if i == memory.n || memory.regions[i].start >= addr+n {
			break
		}
		r := memory.regions[i]
		end := min(r.end, addr+n)
		if start := max(r.start, at); r.reserved && !memory.set(start, end-start, false) {
			return errNOMEM
		}
		at = end
	}
	return 0
}
