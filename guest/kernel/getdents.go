package kernel

// Layout of struct linux_dirent64, and its types.
const (
	direntInode  = 0
	direntOffset = 8
	direntLength = 16
	direntType   = 18
	direntName   = 19

	typeDir, typeFile, typeLink, typeChar, typeBlk = 4, 8, 10, 2, 6
)

// entries is what getdents writes: to [to, to+n), of which done bytes are.
type entries struct{ to, n, done uintptr }

// add adds an entry, if there is room.
func (e *entries) add(i int32, name, size uintptr, offset uint64) bool {
	length := (direntName + size + 1 + 7) &^ 7
	if length > e.n-e.done {
		return false
	}
	p := e.to + e.done
	zero(p, length)
	store64(p+direntInode, uint64(i))
	store64(p+direntOffset, offset)
	store16(p+direntLength, uint16(length))
	store8(p+direntType, at(i).direntKind())
	move(p+direntName, name, size)
	e.done += length
	return true
}

// getdents gives the entries of a directory, from . and .. on. The offset is the
// serial number of the last one that it gave, and two.
func getdents(fd uint64, to, n uintptr) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	if f.kind != directory {
		return errNOTDIR
	}
	const dots = ".."
	d := at(f.node)
	e := entries{to, n, 0}
	o := f.shared()
	if o.offset == 0 && e.add(f.node, address(dots), 1, 1) {
		o.offset = 1
	}
	if o.offset == 1 && e.add(d.parent, address(dots), 2, 2) {
		o.offset = 2
	}
	room := o.offset >= 2
	for i := d.first; i != 0 && room; i = at(i).next {
		c := at(i)
		if s := uint64(c.serial) + 2; s > o.offset {
			if room = e.add(i, addressOf(&c.name[0]), uintptr(c.nameLen), s); room {
				o.offset = s
			}
		}
	}
	if !room && e.done == 0 {
		return errINVAL
	}
	return int64(e.done)
}

func (d *node) direntKind() uint8 {
	switch d.kind {
	case directory:
		return typeDir
	case regular:
		return typeFile
	case symlink:
		return typeLink
	case blockDevice:
		return typeBlk
	}
	return typeChar
}
