package kernel

// atWorkDir is AT_FDCWD.
const atWorkDir = -100

const (
	maxPath  = 4096
	maxLinks = 40
)

// A path that is being walked, and another to make the next one of when there is
// a symbolic link.
var walked, nextWalked [maxPath]byte

// place is where a path leads.
type place struct {
	dir  int32   // the directory of its last name
	node int32   // what has that name, or 0
	name uintptr // the last name, in walked; of length 0 for the root and the like
	n    uintptr
	dirs bool  // it ends in a slash, or in . or ..
	dots uint8 // the length of . or .. at its end
}

// length is that of a path, or -1 for one that is too long.
func length(path uintptr) int64 {
	for i := range uintptr(maxPath) {
		if load8(path+i) == 0 {
			return int64(i)
		}
	}
	return -1
}

// start is the directory that a path begins in.
func start(fd uint64, path uintptr) (int32, int64) {
	if path != 0 && load8(path) == '/' {
		return rootNode, 0
	}
	if int32(fd) == atWorkDir {
		return workDir, 0
	}
	f := fileOf(fd)
	if f == nil {
		return 0, errBADF
	}
	if f.kind != directory {
		return 0, errNOTDIR
	}
	return f.node, 0
}

// Whether a symbolic link at a path's end is followed.
const (
	byName  = iota // the call makes or removes a name
	bySlash        // if a slash follows
	always
)

// walk follows a path from a descriptor's directory.
func walk(fd uint64, path uintptr, follow uint8) (p place, err int64) {
	if path == 0 {
		return p, errFAULT
	}
	n := length(path)
	if n < 0 {
		return p, errNAMETOOLONG
	}
	if n == 0 {
		return p, errNOENT
	}
	dir, err := start(fd, path)
	if err < 0 {
		return p, err
	}
	move(addressOf(&walked[0]), path, uintptr(n))
	end, links, dots := int(n), 0, uint8(0)
	for i := 0; ; {
		for i < end && walked[i] == '/' {
			i++
		}
		if i == end { // the directory itself
			d := at(dir)
			return place{dir: d.parent, node: dir, dirs: true, dots: dots}, 0
		}
		from := i
		for i < end && walked[i] != '/' {
			i++
		}
		size := i - from
		if size > maxName {
			return p, errNAMETOOLONG
		}
		rest := i
		for rest < end && walked[rest] == '/' {
			rest++
		}
		last, slash := rest == end, rest > i
		if at(dir).kind != directory {
			return p, errNOTDIR
		}
		if walked[from] == '.' && (size == 1 || size == 2 && walked[from+1] == '.') {
			if size == 2 && dir != rootNode {
				dir = at(dir).parent
			}
			if dir == 0 {
				return p, errNOENT
			}
			dots = uint8(size)
			continue
		}
		name := addressOf(&walked[from])
		found := find(dir, name, uintptr(size))
		if found != 0 && at(found).kind == symlink && (!last || slash && follow == bySlash || follow == always) {
			if links++; links > maxLinks {
				return p, errLOOP
			}
			t := at(found)
			if int(t.size)+1+end-i > maxPath-1 {
				return p, errNAMETOOLONG
			}
			to := addressOf(&nextWalked[0])
			move(to, t.data, t.size)
			move(to+t.size, addressOf(&walked[0])+uintptr(i), uintptr(end-i))
			end = int(t.size) + end - i
			walked, nextWalked = nextWalked, walked
			if i = 0; walked[0] == '/' {
				dir = rootNode
			}
			continue
		}
		if last {
			if slash && found != 0 && at(found).kind != directory && follow != byName {
				return p, errNOTDIR
			}
			return place{dir: dir, node: found, name: name, n: uintptr(size), dirs: slash}, 0
		}
		if found == 0 {
			return p, errNOENT
		}
		dir = found
	}
}

// existing is walk for what has to be there.
func existing(fd uint64, path uintptr, follow bool) (int32, int64) {
	how := uint8(bySlash)
	if follow {
		how = always
	}
	p, err := walk(fd, path, how)
	if err == 0 && p.node == 0 {
		err = errNOENT
	}
	return p.node, err
}

// create makes a node where a path leads to nothing yet.
func (p *place) create(kind uint8, mode uint32) (int32, int64) {
	d := at(p.dir)
	switch {
	case p.node != 0:
		return 0, errEXIST
	case d.fixed:
		return 0, errROFS
	case p.dirs && kind != directory:
		return 0, errNOENT
	case p.dir != rootNode && !d.linked:
		return 0, errNOENT
	}
	i := newNode(kind, mode)
	if i == 0 {
		return 0, errNOSPC
	}
	link(p.dir, i, p.name, p.n)
	return i, 0
}

// pathOf writes the path of a directory to [to, to+n) and returns its length with
// the NUL.
func pathOf(i int32, to, n uintptr) int64 {
	need := uintptr(1)
	for j := i; j != rootNode; j = at(j).parent {
		if !at(j).linked {
			return errNOENT
		}
		need += uintptr(at(j).nameLen) + 1
	}
	if i == rootNode {
		need++
	}
	if n < need {
		return errRANGE
	}
	end := to + need - 1
	store8(end, 0)
	if i == rootNode {
		store8(to, '/')
	}
	for j := i; j != rootNode; j = at(j).parent {
		d := at(j)
		end -= uintptr(d.nameLen)
		for k := range uintptr(d.nameLen) {
			store8(end+k, d.name[k])
		}
		end--
		store8(end, '/')
	}
	return int64(need)
}
