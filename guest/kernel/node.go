package kernel

import "unsafe"

// The file system: a tree of nodes in memory. What the builder packed into the
// image comes first, and what the program makes is added to it. Nodes are
// numbered from 1; 0 is none.

const (
	maxName     = 255
	maxNodes    = 1 << 16
	chunkNodes  = 16
	maxChunks   = maxNodes / chunkNodes
	nodeBuckets = 4096
	rootNode    = 1
)

type node struct {
	parent, first, last, next, prev int32
	chain                           int32 // next of its bucket
	hash                            uint32
	serial                          uint32 // in the order of a directory
	kind                            uint8  // directory, regular, symlink, or of a device; 0 when it is free
	packed                          bool   // its contents are in the image
	fixed                           bool   // it must not be changed
	linked                          bool   // it has a name
	nameLen                         uint8
	opens                           int32  // by descriptors, and by mappings
	maps, writes                    int32  // shared mappings, and those that can be written to
	mode                            uint32 // permissions
	handle                          uint64 // of a device
	data, size, room                uintptr
	mtime                           int64 // ns since 1970
	locks                           int32 // of flock: shared ones, or -1
	name                            [maxName]byte
}

const nodeSize = unsafe.Sizeof(node{})

var (
	chunks     [maxChunks]uintptr
	nNodes     int32 // numbers up to here have been given out
	freeNodes  int32 // a list, by next
	buckets    [nodeBuckets]int32
	nodeSerial uint32
	fsUsed     uintptr // bytes of memory that files and nodes have
	fsLimit    uintptr
	workDir    int32
	umask      uint32
)

func at(n int32) *node {
	return (*node)(pointer(chunks[n/chunkNodes] + uintptr(n%chunkNodes)*nodeSize))
}

// take counts n bytes of the file system's memory, if there are so many.
func take(n uintptr) bool {
	if n > fsLimit-fsUsed {
		return false
	}
	fsUsed += n
	return true
}

// newNode returns a node without a name, or 0.
func newNode(kind uint8, mode uint32) int32 {
	i := freeNodes
	if i != 0 {
		freeNodes = at(i).next
	} else {
		i = nNodes + 1
		if i >= maxNodes {
			return 0
		}
		if chunks[i/chunkNodes] == 0 {
			const size = chunkNodes * nodeSize
			if !take(size) {
				return 0
			}
			p := mmap(0, size, 3, mapAnonymous)
			if p < 0 {
				fsUsed -= size
				return 0
			}
			chunks[i/chunkNodes] = uintptr(p)
		}
		nNodes = i
	}
	*at(i) = node{kind: kind, mode: mode, mtime: wall()}
	return i
}

func hashName(dir int32, name uintptr, n uintptr) uint32 {
	h := uint32(2166136261) ^ uint32(dir)*16777619
	for i := range n {
		h = (h ^ uint32(load8(name+i))) * 16777619
	}
	return h
}

// find returns the node of that name in a directory, or 0.
func find(dir int32, name, n uintptr) int32 {
	h := hashName(dir, name, n)
	for i := buckets[h%nodeBuckets]; i != 0; i = at(i).chain {
		d := at(i)
		if d.hash != h || d.parent != dir || uintptr(d.nameLen) != n {
			continue
		}
		same := true
		for j := range n {
			if d.name[j] != load8(name+j) {
				same = false
				break
			}
		}
		if same {
			return i
		}
	}
	return 0
}

// link gives a node a name in a directory.
func link(dir, i int32, name, n uintptr) {
	d, p := at(i), at(dir)
	nodeSerial++
	d.parent, d.nameLen, d.linked, d.serial = dir, uint8(n), true, nodeSerial
	for j := range n {
		d.name[j] = load8(name + j)
	}
	d.hash = hashName(dir, name, n)
	b := &buckets[d.hash%nodeBuckets]
	d.chain, *b = *b, i
	d.prev, d.next = p.last, 0
	if p.last != 0 {
		at(p.last).next = i
	} else {
		p.first = i
	}
	p.last = i
	p.mtime = wall()
}

// unlink takes a node's name away, and with it the node if nobody has it open.
func unlink(i int32) {
	d := at(i)
	for b := &buckets[d.hash%nodeBuckets]; *b != 0; b = &at(*b).chain {
		if *b == i {
			*b = d.chain
			break
		}
	}
	p := at(d.parent)
	if d.prev != 0 {
		at(d.prev).next = d.next
	} else {
		p.first = d.next
	}
	if d.next != 0 {
		at(d.next).prev = d.prev
	} else {
		p.last = d.prev
	}
	p.mtime = wall()
	d.linked = false
	discard(i)
}

// discard frees a node that has no name and is not open.
func discard(i int32) {
	d := at(i)
	if d.linked || d.opens > 0 || i == workDir || i == rootNode {
		return
	}
	if d.room > 0 {
		munmap(d.data, d.room)
		fsUsed -= d.room
	}
	*d = node{next: freeNodes}
	freeNodes = i
}

// reserve gives a regular file memory of its own for n bytes.
func (d *node) reserve(n uintptr) int64 {
	if n <= d.room {
		return 0
	}
	const most = 1 << 40
	if n > most {
		return errFBIG
	}
	if d.maps > 0 {
		return d.extend(pageUp(n))
	}
	room := pageUp(max(n, min(2*d.room, d.room+64<<20)))
	if !take(room - d.room) {
		room = pageUp(n)
		if !take(room - d.room) {
			return errNOSPC
		}
	}
	p := mmap(0, room, 3, mapAnonymous)
	if p < 0 {
		fsUsed -= room - d.room
		return errNOSPC
	}
	move(uintptr(p), d.data, d.size)
	if d.room > 0 {
		munmap(d.data, d.room)
	}
	d.data, d.room, d.packed = uintptr(p), room, false
	return 0
}

// resize is ftruncate.
func (d *node) resize(n uintptr) int64 {
	if d.fixed {
		return errROFS
	}
	if n > d.size {
		if r := d.reserve(n); r < 0 {
			return r
		}
		d.clearBehind(n)
	}
	if n < d.size && d.room > 0 {
		zero(d.data+n, d.size-n)
	}
	d.size, d.mtime = n, wall()
	return 0
}

func (d *node) readAt(to, n uintptr, offset uint64) int64 {
	if offset >= uint64(d.size) {
		return 0
	}
	n = min(n, d.size-uintptr(offset))
	move(to, d.data+uintptr(offset), n)
	return int64(n)
}

func (d *node) writeAt(from, n uintptr, offset uint64) int64 {
	if d.fixed {
		return errROFS
	}
	if n == 0 {
		return 0
	}
	end := offset + uint64(n)
	if end < offset || end > 1<<62 {
		return errFBIG
	}
	if d.packed {
		if r := d.reserve(max(d.size, 1)); r < 0 {
			return r
		}
	}
	if r := d.reserve(uintptr(end)); r < 0 {
		return r
	}
	d.clearBehind(uintptr(offset))
	move(d.data+uintptr(offset), from, n)
	d.size, d.mtime = max(d.size, uintptr(end)), wall()
	return int64(n)
}
