package kernel

import (
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// useMemory makes the kernel's memory n pages of the host's.
func useMemory(t testing.TB, pages int) {
	t.Helper()
	b, err := unix.Mmap(-1, 0, pages*pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	start := uintptr(unsafe.Pointer(&b[0]))
	memory = space{base: start, limit: start + uintptr(len(b))}
	t.Cleanup(func() { memory = space{} })
}

// Kinds of a page in the model.
const (
	pageFree = iota
	pageReserved
	pageUsed
)

// model is the memory as an array of pages: the simplest thing that is right.
type model struct {
	kind  []byte
	dirty []bool // written since it was last given out
}

func (m *model) set(first, n int, kind byte) {
	for i := first; i < first+n; i++ {
		m.kind[i], m.dirty[i] = kind, false
	}
}

// check compares the interval map, and the contents of memory, with the model.
func (m *model) check(t *testing.T, step int) {
	t.Helper()
	last := region{}
	for i := range memory.regions[:memory.n] {
		r := memory.regions[i]
		if r.start >= r.end || r.start < last.end || r.start < memory.base || r.end > memory.limit {
			t.Fatalf("step %d: region %d is %#x-%#x after %#x-%#x", step, i, r.start, r.end, last.start, last.end)
		}
		if i > 0 && r.start == last.end && r.reserved == last.reserved {
			t.Fatalf("step %d: regions %d and %d are one", step, i-1, i)
		}
		last = r
	}
	for p := range m.kind {
		addr := memory.base + uintptr(p)*pageSize
		kind := byte(pageFree)
		if i := memory.first(addr); i < memory.n && memory.regions[i].start <= addr {
			kind = pageUsed
			if memory.regions[i].reserved {
				kind = pageReserved
			}
		}
		if kind != m.kind[p] {
			t.Fatalf("step %d: page %d is of kind %d, expected %d", step, p, kind, m.kind[p])
		}
		for _, at := range []uintptr{addr, addr + 8*uintptr(step%512), addr + pageSize - 8} {
			if v := load64(at); (v != 0) != m.dirty[p] && (at == addr || !m.dirty[p]) {
				t.Fatalf("step %d: page %d holds %#x, written: %v", step, p, v, m.dirty[p])
			}
		}
	}
}

// operate makes one random call of the kernel's and the same of the model.
func (m *model) operate(t *testing.T, step int, op, a, b byte) {
	pages := len(m.kind)
	first := int(a) % pages
	n := 1 + int(b)%min(pages-first, 9)
	addr, size := memory.base+uintptr(first)*pageSize, uintptr(n)*pageSize
	prot, kind := uint64(3), byte(pageUsed)
	if op&1 != 0 {
		prot, kind = 0, pageReserved
	}
	switch op >> 1 % 6 {
	case 0: // anywhere
		got := mmap(0, size, prot, mapAnonymous)
		if got < 0 {
			run := 0
			for p := range m.kind {
				if run++; m.kind[p] != pageFree {
					run = 0
				}
				if run == n {
					t.Fatalf("step %d: no memory, and there is some at page %d", step, p)
				}
			}
			return
		}
		first = int(uintptr(got)-memory.base) / pageSize
		for p := first; p < first+n; p++ {
			if m.kind[p] != pageFree {
				t.Fatalf("step %d: page %d was given out twice", step, p)
			}
		}
		m.set(first, n, kind)
	case 1:
		if got := mmap(addr, size, prot, mapAnonymous|mapFixed); got != int64(addr) {
			t.Fatalf("step %d: %d", step, got)
		}
		m.set(first, n, kind)
	case 2:
		if got := munmap(addr, size-uintptr(op)); got != 0 {
			t.Fatalf("step %d: %d", step, got)
		}
		m.set(first, n, pageFree)
	case 3:
		if got := madvise(addr, size, adviceDontNeed); got != 0 {
			t.Fatalf("step %d: %d", step, got)
		}
		for p := first; p < first+n; p++ {
			m.dirty[p] = false
		}
	case 4:
		if got := mprotect(addr, size, prot); got != 0 {
			t.Fatalf("step %d: %d", step, got)
		}
		for p := first; p < first+n; p++ {
			if prot != 0 && m.kind[p] == pageReserved {
				m.kind[p] = pageUsed
			}
		}
	case 5: // the program writes
		for p := first; p < first+n; p++ {
			if m.kind[p] == pageUsed {
				at := memory.base + uintptr(p)*pageSize
				store64(at, 1+uint64(step))
				store64(at+pageSize-8, 1)
				m.dirty[p] = true
			}
		}
	}
}

func TestMemoryAgainstModel(t *testing.T) {
	const pages = 64
	rnd := rand.New(rand.NewPCG(1, 2))
	useMemory(t, pages)
	m := &model{make([]byte, pages), make([]bool, pages)}
	for step := range 20000 {
		m.operate(t, step, byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32()))
		m.check(t, step)
	}
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte{0, 3, 5, 10, 3, 5, 4, 4, 1, 6, 2, 2})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const pages = 32
		useMemory(t, pages)
		m := &model{make([]byte, pages), make([]bool, pages)}
		for step := 0; step+3 <= len(ops) && step < 600; step += 3 {
			m.operate(t, step, ops[step], ops[step+1], ops[step+2])
			m.check(t, step)
		}
	})
}

// A region table that is full makes calls fail and nothing else.
func TestTooManyRegions(t *testing.T) {
	useMemory(t, 2*maxRegions+8)
	const most = maxRegions - 1
	for i := range uintptr(most) {
		if got := mmap(memory.base+2*i*pageSize, pageSize, 3, mapAnonymous|mapFixed); got < 0 {
			t.Fatalf("region %d: %d", i, got)
		}
	}
	next := memory.base + 2*most*pageSize
	if got := mmap(next, pageSize, 3, mapAnonymous|mapFixed); got != errNOMEM {
		t.Fatalf("mmap: %d, expected %d", got, errNOMEM)
	}
	if !memory.free(next, pageSize) || memory.n != most {
		t.Fatalf("a mapping that failed is there, or another is not: %d regions", memory.n)
	}
	if got := munmap(memory.base, pageSize); got != 0 {
		t.Fatalf("munmap: %d", got)
	}
	if got := mmap(next, pageSize, 3, mapAnonymous|mapFixed); got != int64(next) {
		t.Fatalf("mmap when there is room again: %d", got)
	}
}

func TestMemoryArguments(t *testing.T) {
	useMemory(t, 8)
	huge := ^uintptr(0)
	for _, c := range []struct {
		name      string
		got, want int64
	}{
		{"mmap of nothing", mmap(0, 0, 3, mapAnonymous), errINVAL},
		{"mmap of a file", mmap(0, pageSize, 3, 0), errINVAL},
		{"mmap of all addresses", mmap(0, huge, 3, mapAnonymous), errNOMEM},
		{"mmap that wraps", mmap(huge&^(pageSize-1), 2*pageSize, 3, mapAnonymous|mapFixed), errNOMEM},
		{"mmap outside", mmap(memory.limit, pageSize, 3, mapAnonymous|mapFixed), errNOMEM},
		{"mmap across the end", mmap(memory.limit-pageSize, 2*pageSize, 3, mapAnonymous|mapFixed), errNOMEM},
		{"mmap with a hint elsewhere", mmap(0xc000000000, pageSize, 3, mapAnonymous), int64(memory.base)},
		{"mmap of what is mapped", mmap(memory.base, pageSize, 3, mapAnonymous|mapFixed|mapNoReplace), errEXIST},
		{"munmap off a page", munmap(memory.base+1, pageSize), errINVAL},
		{"munmap of all addresses", munmap(memory.base, huge), errINVAL},
		{"munmap outside", munmap(memory.limit, pageSize), errINVAL},
		{"madvise outside", madvise(memory.limit, pageSize, adviceDontNeed), errNOMEM},
		{"mprotect of all addresses", mprotect(memory.base, huge, 3), errINVAL},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, expected %d", c.name, c.got, c.want)
		}
	}
}

// All arenas that fit are given out, beside small pieces: those do not lie in the
// middle of what could be an arena.
func TestArenas(t *testing.T) {
	const arena = 1 << LogArena
	t.Cleanup(func() { memory = space{} })
	// Nothing is written to memory that is only reserved. Beside n arenas there is room
	// for pieces of 256 KiB: 10 before and 14 after, or 10 and 13.
	for _, c := range []struct {
		base, limit uintptr
		n, pieces   int
	}{{0x2545000, 0x3fbf000, 5, 24}, {0x2545000, 0x3b7f000, 4, 23}} {
		memory = space{base: c.base, limit: c.limit}
		for i := range c.pieces {
			if at := mmap(0, 64*pageSize, 0, mapAnonymous); at < 0 {
				t.Fatalf("%d arenas: piece %d: %d", c.n, i, at)
			}
			if i%(c.pieces/c.n) > 0 || i/(c.pieces/c.n) >= c.n {
				continue
			}
			if at := mmap(0, arena, 0, mapAnonymous); at < 0 || at%arena != 0 {
				t.Fatalf("%d arenas: after %d pieces one is at %#x", c.n, i+1, at)
			}
		}
		if at := mmap(0, arena, 0, mapAnonymous); at != errNOMEM {
			t.Errorf("%d arenas, and one more at %#x", c.n, at)
		}
	}
	// What begins nowhere at a multiple is memory as well.
	memory = space{base: arena + pageSize, limit: 3*arena - pageSize}
	if at := mmap(0, arena, 0, mapAnonymous); at != arena+pageSize {
		t.Errorf("memory without an arena: %#x", at)
	}
}
