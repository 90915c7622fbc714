package kernel

import "gocat/internal/abi"

// Tree is the address of a tree of files that the builder packed, 0 without one.
// Builders patch it; the value here is what they look for.
var Tree uint64 = treeUnset

const treeUnset = 0x7465677261742122

// A packed tree is a header and entries, each a directory before what is in it.
// Its numbers are little-endian; offsets are from its start.
const (
	treeCount  = 0 // entries
	treeWork   = 4 // entry, from 1, of the directory to begin in, or 0
	treeHeader = 8

	treeParent = 0  // entry, from 1, or 0 for the root
	treeMode   = 4  // of struct stat
	treeFixed  = 8  // 1 if it must not be changed
	treeName   = 12 // length of the name
	treeOffset = 16 // of the contents, or of a symbolic link's target
	treeSize   = 24
	treeNext   = 32 // the name, and then, at a multiple of 8, the next entry
)

// resetNodes makes the tree: what is packed, and directories and devices that
// every program finds.
func resetNodes() {
	chunks, buckets = [maxChunks]uintptr{}, [nodeBuckets]int32{}
	nNodes, freeNodes, nodeSerial, fsUsed, umask = 0, 0, 0, 0, 0o22
	fsLimit = (memory.limit - memory.base) / 2
	chunks[0] = 0
	root := newNode(directory, 0o755)
	if root == 0 { // too little memory for anything
		return
	}
	at(root).parent, at(root).linked, workDir = rootNode, true, rootNode
	if Tree != treeUnset && Tree != 0 {
		mountTree(uintptr(Tree))
	}
	for i := range standard {
		standard[i].make()
	}
	if Target == targetSPT || Target == targetHVT {
		for h := uint64(1); h < devices; h++ {
			makeDevice(h)
		}
	}
}

func mountTree(tree uintptr) {
	count := load32(tree + treeCount)
	e := tree + treeHeader
	for range count {
		mode := load32(e + treeMode)
		kind := uint8(regular)
		switch mode & modeType {
		case modeDir:
			kind = directory
		case modeLink:
			kind = symlink
		}
		i := newNode(kind, mode&modePerm) // entry i-1
		if i == 0 {
			return
		}
		d := at(i)
		n := uintptr(load32(e + treeName))
		d.fixed = load32(e+treeFixed) != 0
		d.data, d.size, d.packed = tree+uintptr(load64(e+treeOffset)), uintptr(load64(e+treeSize)), true
		if kind == directory {
			d.data, d.size, d.packed = 0, 0, false
		}
		link(int32(load32(e+treeParent))+1, i, e+treeNext, n)
		e += treeNext + (n+7)&^7
	}
	// Times of the host's are not packed: equal trees give equal images.
	for i := int32(1); i <= nNodes; i++ {
		at(i).mtime = 0
	}
	if w := int32(load32(tree + treeWork)); w != 0 {
		workDir = w + 1
	}
}

// standardFile is what every program finds.
type standardFile struct {
	path string // NUL-terminated
	kind uint8
	mode uint32
	text string
}

var standard = [...]standardFile{
	{"/tmp\x00", directory, 0o1777, ""},
	{"/root\x00", directory, 0o700, ""},
	{"/etc\x00", directory, 0o755, ""},
	{"/etc/passwd\x00", regular, 0o644, "root:x:0:0:root:/root:/bin/sh\n"},
	{"/etc/group\x00", regular, 0o644, "root:x:0:\n"},
	{"/dev\x00", directory, 0o755, ""},
	{"/dev/null\x00", null, 0o666, ""},
	{"/dev/zero\x00", zeros, 0o666, ""},
	{"/dev/random\x00", randoms, 0o666, ""},
	{"/dev/urandom\x00", randoms, 0o666, ""},
	{"/dev/solo5\x00", directory, 0o555, ""},
	{"/proc\x00", directory, 0o555, ""},
	{"/proc/self\x00", directory, 0o555, ""},
	{"/proc/self/exe\x00", symlink, 0o777, "/unikernel"},
	{"/unikernel\x00", regular, 0o555, ""},
}

// make makes a file unless the tree has one.
func (s *standardFile) make() {
	root := int64(atWorkDir)
	p, err := walk(uint64(root), address(s.path), byName)
	if err < 0 || p.node != 0 {
		return
	}
	i, err := p.create(s.kind, s.mode)
	if err < 0 {
		return
	}
	d := at(i)
	d.data, d.size, d.packed = address(s.text), uintptr(len(s.text)), len(s.text) > 0
}

// makeDevice makes /dev/solo5/NAME.
func makeDevice(h uint64) {
	kind := uint8(netDevice)
	if deviceType(h) == abi.DeviceBlock {
		kind = blockDevice
	}
	root := int64(atWorkDir)
	p, err := walk(uint64(root), address("/dev/solo5\x00"), always)
	if err < 0 || p.node == 0 {
		return
	}
	name := entry(h) + abi.EntryName
	n := uintptr(0)
	for n < abi.MaxName && load8(name+n) != 0 {
		n++
	}
	if i := newNode(kind, 0o666); i != 0 {
		at(i).handle = h
		link(p.node, i, name, n)
	}
}
