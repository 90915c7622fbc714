package kernel

import "gocat/internal/abi"

// Kind of a descriptor.
const (
	closed = iota
	null   // /dev/null: at its end
	console
	netDevice
	blockDevice
	pipeReader
	pipeWriter
	eventFD
	epoll
	socketFile
	directory
	regular
	symlink
	zeros   // /dev/zero
	randoms // /dev/urandom
)

// file is a descriptor.
type file struct {
	kind   uint8
	open   int32  // what it is of, in opens
	node   int32  // of the file system, or 0
	handle uint64 // devices: of the device; pipes: index
	tells  uint32 // sockets: events to tell of

	// In the epoll set.
	polled   bool
	events   uint32 // wanted
	data     uint64
	armedIn  bool // tell of input, if there is any; edge triggered
	armedOut bool
}

// openFile is what duplicated descriptors share: POSIX's open file description.
type openFile struct {
	descriptors int32 // how many there are, 0 while it is unused
	access      uint8 // access mode: 0 reads, 1 writes, 2 both
	nonblock    bool
	append      bool   // O_APPEND
	locked      int8   // what flock has: 1 shared, -1 exclusive
	offset      uint64 // of what can seek; eventFD: its count
}

var (
	files    [maxFiles]file
	topFile  int // descriptors from here on are closed
	freeFile int // those below are open

	opens    [maxFiles]openFile
	freeOpen int // those below are in use
)

// shared is what f shares with other descriptors.
func (f *file) shared() *openFile { return &opens[f.open] }

// stdin is the name of the device that is descriptor 0.
var stdin = [...]byte{'s', 't', 'd', 'i', 'n'}

func resetFiles() {
	clear(files[:])
	clear(opens[:])
	topFile, freeFile, freeOpen = 0, 0, 0
	pipes = [maxPipes]pipe{}
	deviceReady = 0
	if h := device(stdin[:]); deviceType(h) == abi.DeviceNet {
		newFile(file{kind: netDevice, handle: h}, openFile{access: openReadWrt, nonblock: true})
	} else {
		newFile(file{kind: null}, openFile{access: openReadWrt})
	}
	for range 2 {
		newFile(file{kind: console}, openFile{access: openReadWrt})
	}
}

// fileOf returns an open descriptor, or nil.
func fileOf(fd uint64) *file {
	if fd >= maxFiles || files[fd].kind == closed {
		return nil
	}
	return &files[fd]
}

// newFile takes the lowest free descriptor for a file that is opened.
func newFile(f file, o openFile) int64 { return newFileFrom(f, o, 0) }

// newFileFrom takes the lowest that is not below least.
func newFileFrom(f file, o openFile, least uint64) int64 {
	i := freeOpen
	for i < maxFiles && opens[i].descriptors != 0 {
		i++
	}
	if f.open = int32(i); i == maxFiles {
		return errMFILE
	}
	fd := descriptor(f, least)
	if fd >= 0 {
		o.descriptors = 1
		opens[i], freeOpen = o, i+1
	}
	return fd
}

// descriptor takes the lowest free one for f that is not below least.
func descriptor(f file, least uint64) int64 {
	from := max(freeFile, int(min(least, maxFiles)))
	for fd := from; fd < maxFiles; fd++ {
		if files[fd].kind == closed {
			files[fd] = f
			if from == freeFile {
				freeFile = fd + 1
			}
			topFile = max(topFile, fd+1)
			return int64(fd)
		}
	}
	return errMFILE
}

// release makes a descriptor free, and with its last one an open file.
func release(fd uint64) {
	o := files[fd].shared()
	if o.descriptors--; o.descriptors == 0 {
		freeOpen = min(freeOpen, int(files[fd].open))
	}
	files[fd] = file{}
	freeFile = min(freeFile, int(fd))
	for topFile > 0 && files[topFile-1].kind == closed {
		topFile--
	}
}

func closeFile(fd uint64) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	if f.shared().descriptors == 1 {
		if f.kind == pipeReader || f.kind == pipeWriter {
			closePipe(f)
		}
		if f.node != 0 {
			closeNode(f)
		}
	}
	release(fd)
	return 0
}

// Flags of open (Linux asm-generic/fcntl.h).
const (
	accessMode   = 3
	openRead     = 0
	openWrite    = 1
	openReadWrt  = 2
	openCreate   = 0x40
	openExcl     = 0x80
	openTrunc    = 0x200
	openAppend   = 0x400
	openNonblk   = 0x800
	openDir      = 0x10000
	openNoFollow = 0x20000
	openPath     = 0x200000
	openTempFile = 0x400000
)

// Operations of fcntl.
const (
	fcntlDup        = 0
	fcntlGetFD      = 1
	fcntlSetFD      = 2
	fcntlGetFlags   = 3
	fcntlSetFlags   = 4
	fcntlDupCloexec = 1030

	fcntlGetLock     = 5
	fcntlSetLock     = 6
	fcntlSetLockWait = 7
)

func fcntl(fd, op, arg uint64) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	switch op {
	case fcntlGetFD, fcntlSetFD:
		return 0
	case fcntlGetFlags:
		o := f.shared()
		flags := int64(o.access)
		if o.nonblock {
			flags |= openNonblk
		}
		if o.append {
			flags |= openAppend
		}
		return flags
	case fcntlSetFlags:
		o := f.shared()
		o.nonblock, o.append = arg&openNonblk != 0, arg&openAppend != 0
		return 0
	case fcntlGetLock, fcntlSetLock, fcntlSetLockWait:
		return 0 // locks of the process, of which there is one
	case fcntlDup, fcntlDupCloexec:
		if arg >= maxFiles {
			return errINVAL
		}
		return dup(f, arg)
	}
	return errINVAL
}

// dup makes a second descriptor of an open file, not below least.
func dup(f *file, least uint64) int64 {
	fd := descriptor(file{kind: f.kind, open: f.open, node: f.node, handle: f.handle}, least)
	if fd >= 0 {
		f.shared().descriptors++
	}
	return fd
}

// dup3 is dup to a descriptor that is closed before; equal is the result where
// both are the same.
func dup3(fd, to uint64, equal int64) int64 {
	f := fileOf(fd)
	if f == nil || to >= maxFiles {
		return errBADF
	}
	if fd == to {
		return equal
	}
	closeFile(to)
	return dup(f, to) // which is free
}

// Layout of struct stat (Linux x86 asm/stat.h).
const (
	statSize   = 144
	statDevice = 0
	statInode  = 8
	statLinks  = 16
	statMode   = 24
	statBytes  = 48
	statBlock  = 56
	statBlocks = 64
	statTimes  = 72 // of access, change of contents, change: seconds and ns each

	modeType  = 0o170000
	modeFIFO  = 0o010000
	modeChar  = 0o020000
	modeDir   = 0o040000
	modeBlock = 0o060000
	modeFile  = 0o100000
	modeLink  = 0o120000
	modePerm  = 0o7777
	modeRW    = 0o666
)

// stat of a descriptor. Standard input is always a pipe, whatever its device is
// connected to: programs ask because they want to know whether somebody types.
func stat(f *file, to uintptr) int64 {
	if f.node != 0 {
		return statNode(f.node, to)
	}
	zero(to, statSize)
	mode := uint32(modeChar | modeRW)
	switch f.kind {
	case pipeReader, pipeWriter:
		mode = modeFIFO | modeRW
	case netDevice:
		if f.handle == device(stdin[:]) {
			mode = modeFIFO | modeRW
		}
	}
	store32(to+statMode, mode)
	store64(to+statLinks, 1)
	store64(to+statBlock, pageSize)
	return 0
}

// Origins of lseek.
const (
	seekSet     = 0
	seekCurrent = 1
	seekEnd     = 2
)

func lseek(f *file, offset int64, whence uint64) int64 {
	switch f.kind {
	case blockDevice, regular, directory:
	case null, zeros, randoms:
		return 0
	default:
		return errSPIPE
	}
	switch whence {
	case seekSet:
	case seekCurrent:
		offset += int64(f.shared().offset)
	case seekEnd:
		if f.kind == blockDevice {
			offset += int64(capacity(f.handle))
		} else {
			offset += int64(at(f.node).size)
		}
	default:
		return errINVAL
	}
	if offset < 0 {
		return errINVAL
	}
	f.shared().offset = uint64(offset)
	return offset
}
