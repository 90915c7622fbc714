package kernel

// System calls on paths and on the nodes that they lead to.

func openat(fd uint64, path uintptr, flags, mode uint64) int64 {
	follow := uint8(always)
	if flags&openNoFollow != 0 || flags&(openCreate|openExcl) == openCreate|openExcl {
		follow = bySlash
	}
	p, err := walk(fd, path, follow)
	if err < 0 {
		return err
	}
	writes := flags&accessMode != 0
	created := false
	i := p.node
	switch {
	case flags&openTempFile == openTempFile:
		return errOPNOTSUPP
	case flags&openCreate != 0 && p.dirs:
		return errISDIR
	case i == 0 && flags&openCreate == 0:
		return errNOENT
	case i == 0:
		if i, err = p.create(regular, uint32(mode)&modePerm&^umask); err < 0 {
			return err
		}
		created = true
	case flags&openCreate != 0 && flags&openExcl != 0:
		return errEXIST
	}
	d := at(i)
	switch {
	case d.kind == symlink && flags&openPath == 0:
		return errLOOP
	case d.kind == directory && (writes || flags&openCreate != 0):
		return errISDIR
	case d.kind != directory && flags&openDir != 0:
		return errNOTDIR
	case d.kind == regular && writes && d.fixed:
		return errROFS
	case d.kind == regular && flags&openTrunc != 0 && writes && !created:
		if r := d.resize(0); r < 0 {
			return r
		}
	}
	n := newFile(file{kind: d.kind, node: i, handle: d.handle}, openFile{access: uint8(flags & accessMode),
		append: flags&openAppend != 0, nonblock: d.kind == netDevice || flags&openNonblk != 0})
	if n >= 0 {
		d.opens++
	} else if created {
		unlink(i)
	}
	return n
}

// closeNode is what closing a descriptor does to its node.
func closeNode(f *file) {
	d := at(f.node)
	f.unlock()
	d.opens--
	discard(f.node)
}

func statNode(i int32, to uintptr) int64 {
	d := at(i)
	zero(to, statSize)
	mode, size := uint32(modeChar), uint64(d.size)
	switch d.kind {
	case directory:
		mode, size = modeDir, pageSize
	case regular:
		mode = modeFile
	case symlink:
		mode = modeLink
	case blockDevice:
		mode, size = modeBlock, capacity(d.handle)
	}
	links := uint64(1)
	if !d.linked {
		links = 0
	}
	store64(to+statDevice, 1)
	store64(to+statInode, uint64(i))
	store64(to+statLinks, links)
	store32(to+statMode, mode|d.mode)
	store64(to+statBytes, size)
	store64(to+statBlock, pageSize)
	store64(to+statBlocks, (size+511)/512)
	for k := range uintptr(3) {
		store64(to+statTimes+16*k, uint64(d.mtime/second))
		store64(to+statTimes+16*k+8, uint64(d.mtime%second))
	}
	return 0
}

// Flags of the calls with a directory (Linux fcntl.h).
const (
	atNoFollow  = 0x100
	atRemoveDir = 0x200
	atEmptyPath = 0x1000
)

func statAt(fd uint64, path, to uintptr, flags uint64) int64 {
	if f := fileOf(fd); f != nil && flags&atEmptyPath != 0 && load8(path) == 0 {
		return stat(f, to)
	}
	i, err := existing(fd, path, flags&atNoFollow == 0)
	if err < 0 {
		return err
	}
	return statNode(i, to)
}

func access(fd uint64, path uintptr, mode uint64) int64 {
	const write, execute = 2, 1
	i, err := existing(fd, path, true)
	if err < 0 {
		return err
	}
	d := at(i)
	switch {
	case mode&write != 0 && d.fixed:
		return errROFS
	case mode&execute != 0 && d.kind != directory && d.mode&0o111 == 0:
		return errACCES
	}
	return 0
}

func mkdirat(fd uint64, path uintptr, mode uint64) int64 {
	p, err := walk(fd, path, byName)
	if err == 0 {
		_, err = p.create(directory, uint32(mode)&modePerm&^umask)
	}
	return err
}

func unlinkat(fd uint64, path uintptr, flags uint64) int64 {
	p, err := walk(fd, path, byName)
	if err < 0 {
		return err
	}
	if p.node == 0 {
		return errNOENT
	}
	d := at(p.node)
	switch {
	case flags&atRemoveDir == 0 && d.kind == directory:
		return errISDIR
	case p.dirs && d.kind != directory:
		return errNOTDIR
	case flags&atRemoveDir != 0 && d.kind != directory:
		return errNOTDIR
	case p.dots == 1:
		return errINVAL
	case p.dots == 2:
		return errNOTEMPTY
	case p.n == 0:
		return errBUSY
	case d.first != 0:
		return errNOTEMPTY
	case d.fixed || at(p.dir).fixed:
		return errROFS
	}
	unlink(p.node)
	return 0
}

func renameat(from uint64, old uintptr, to uint64, new uintptr, flags uint64) int64 {
	const noReplace = 1
	if flags&^noReplace != 0 {
		return errINVAL
	}
	p, err := walk(from, old, byName)
	if err < 0 {
		return err
	}
	i := p.node
	q, err := walk(to, new, byName)
	if err < 0 {
		return err
	}
	if p.n == 0 || q.n == 0 {
		return errBUSY
	}
	if i == 0 {
		return errNOENT
	}
	d := at(i)
	switch {
	case d.fixed || at(p.dir).fixed || at(q.dir).fixed:
		return errROFS
	case (p.dirs || q.dirs) && d.kind != directory:
		return errNOTDIR
	case q.node == i:
		return 0
	}
	if d.kind == directory && inside(q.dir, i) {
		return errINVAL
	}
	if q.node != 0 {
		r := at(q.node)
		if r.first != 0 && inside(p.dir, q.node) {
			return errNOTEMPTY
		}
		switch {
		case flags&noReplace != 0:
			return errEXIST
		case r.kind == directory && d.kind != directory:
			return errISDIR
		case r.kind != directory && d.kind == directory:
			return errNOTDIR
		case r.first != 0:
			return errNOTEMPTY
		case r.fixed:
			return errROFS
		}
		unlink(q.node)
	}
	d.opens++ // it stays while it has no name
	unlink(i)
	d.opens--
	link(q.dir, i, q.name, q.n)
	return 0
}

// inside says whether a directory is another, or in it.
func inside(dir, other int32) bool {
	for ; dir != rootNode; dir = at(dir).parent {
		if dir == other {
			return true
		}
	}
	return other == rootNode
}

func symlinkat(target uintptr, fd uint64, path uintptr) int64 {
	n := length(target)
	if n <= 0 {
		return errNOENT
	}
	p, err := walk(fd, path, byName)
	if err < 0 {
		return err
	}
	i, err := p.create(symlink, 0o777)
	if err < 0 {
		return err
	}
	d := at(i)
	if err = d.reserve(uintptr(n)); err < 0 {
		unlink(i)
		return err
	}
	move(d.data, target, uintptr(n))
	d.size = uintptr(n)
	return 0
}

func readlinkat(fd uint64, path, to, n uintptr) int64 {
	i, err := existing(fd, path, false)
	if err < 0 {
		return err
	}
	d := at(i)
	if d.kind != symlink || n == 0 {
		return errINVAL
	}
	return d.readAt(to, n, 0)
}

func chdir(i int32, err int64) int64 {
	if err < 0 {
		return err
	}
	if at(i).kind != directory {
		return errNOTDIR
	}
	was := workDir
	workDir = i
	discard(was)
	return 0
}

// opened is the node of a descriptor.
func opened(fd uint64) (int32, int64) {
	f := fileOf(fd)
	if f == nil {
		return 0, errBADF
	}
	if f.node == 0 {
		return 0, errINVAL
	}
	return f.node, 0
}

// chmod is fchmodat and fchmod.
func chmod(i int32, err int64, mode uint64) int64 {
	if err < 0 {
		return err
	}
	if at(i).fixed {
		return errROFS
	}
	at(i).mode = uint32(mode) & modePerm
	return 0
}

// chown does nothing: there is one user.
func chown(i int32, err int64) int64 {
	if err == 0 && at(i).fixed {
		return errROFS
	}
	return err
}

func utimes(fd uint64, path, times uintptr, flags uint64) int64 {
	const now, omit = 1<<30 - 1, 1<<30 - 2
	i, err := int32(0), int64(0)
	if path == 0 {
		i, err = opened(fd)
	} else {
		i, err = existing(fd, path, flags&atNoFollow == 0)
	}
	if err < 0 {
		return err
	}
	d := at(i)
	if d.fixed {
		return errROFS
	}
	t := wall()
	if times != 0 {
		switch ns := load64(times + 24); ns {
		case now:
		case omit:
			return 0
		default:
			if ns >= second {
				return errINVAL
			}
			t = int64(load64(times+16))*second + int64(ns)
		}
	}
	d.mtime = t
	return 0
}

func truncate(i int32, err int64, n uint64) int64 {
	switch {
	case err < 0:
		return err
	case int64(n) < 0:
		return errINVAL
	case at(i).kind == directory:
		return errISDIR
	case at(i).kind != regular:
		return errINVAL
	case n > 1<<40:
		return errFBIG
	}
	return at(i).resize(uintptr(n))
}

// flock takes a lock on a file, which waits for others of this program.
func flock(t *thread, fd, op uint64) int64 {
	const shared, exclusive, nonblock, unlock = 1, 2, 4, 8
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	if f.node == 0 {
		return errINVAL
	}
	d := at(f.node)
	o := f.shared()
	was := o.locked
	f.unlock()
	switch op &^ nonblock {
	case unlock:
		return 0
	case shared:
		if d.locks >= 0 {
			d.locks++
			o.locked = 1
			return 0
		}
	case exclusive:
		if d.locks == 0 {
			d.locks, o.locked = -1, -1
			return 0
		}
	default:
		return errINVAL
	}
	if op&nonblock != 0 {
		if was != 0 { // a lock that cannot become another stays
			d.locks += int32(was)
			o.locked = was
		}
		return errAGAIN
	}
	return t.wait(inRetry, never)
}

func (f *file) unlock() {
	if o := f.shared(); o.locked != 0 {
		at(f.node).locks -= int32(o.locked)
		o.locked = 0
		changed = true
	}
}

func statfs(to uintptr) int64 {
	const size, magic = 120, 0x01021994 // TMPFS_MAGIC
	zero(to, size)
	store64(to, magic)
	store64(to+8, pageSize)
	store64(to+16, uint64(fsLimit/pageSize))
	store64(to+24, uint64((fsLimit-fsUsed)/pageSize))
	store64(to+32, uint64((fsLimit-fsUsed)/pageSize))
	store64(to+40, maxNodes)
	store64(to+48, uint64(maxNodes-nNodes))
	store64(to+64, maxName)
	store64(to+72, pageSize)
	return 0
}
