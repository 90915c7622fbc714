package kernel

// maxFiles bounds the open descriptors.
const maxFiles = 128

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
)

type file struct {
	kind     uint8
	nonblock bool
	handle   uint64 // devices: of the device; pipes: index
	offset   uint64 // block devices; eventFD: its count

	// In the epoll set.
	polled   bool
	events   uint32 // wanted
	data     uint64
	armedIn  bool // tell of input, if there is any; edge triggered
	armedOut bool
}

var files [maxFiles]file

// stdin is the name of the device that is descriptor 0.
var stdin = [...]byte{'s', 't', 'd', 'i', 'n'}

func resetFiles() {
	files = [maxFiles]file{}
	pipes = [maxPipes]pipe{}
	deviceReady = 0
	files[0].kind = null
	if h := device(stdin[:]); deviceType(h) == typeNet {
		files[0] = file{kind: netDevice, handle: h, nonblock: true}
	}
	files[1].kind = console
	files[2].kind = console
}

// fileOf returns an open descriptor, or nil.
func fileOf(fd uint64) *file {
	if fd >= maxFiles || files[fd].kind == closed {
		return nil
	}
	return &files[fd]
}

// newFile takes the lowest free descriptor.
func newFile(f file) int64 {
	for fd := range files {
		if files[fd].kind == closed {
			files[fd] = f
			return int64(fd)
		}
	}
	return errMFILE
}

func closeFile(fd uint64) int64 {
	f := fileOf(fd)
	if f == nil {
		return errBADF
	}
	if f.kind == pipeReader || f.kind == pipeWriter {
		closePipe(f)
	}
	*f = file{}
	return 0
}

// Flags of open (Linux asm-generic/fcntl.h).
const (
	accessMode  = 3
	openNonblk  = 0x800
	openReadWrt = 2
)

// Directories that exist as far as a program can tell.
const (
	devNull   = "/dev/null\x00"
	devSolo5  = "/dev/solo5/"
	nameLimit = len(devSolo5) + maxName
)

// openat opens /dev/null and /dev/solo5/NAME. There are no other files.
func openat(path uintptr, flags uint64) int64 {
	if prefix(path, devNull) {
		return newFile(file{kind: null})
	}
	h := pathDevice(path)
	switch deviceType(h) {
	case typeNet:
		return newFile(file{kind: netDevice, handle: h, nonblock: true})
	case typeBlock:
		return newFile(file{kind: blockDevice, handle: h})
	}
	return errNOENT
}

// pathDevice returns the handle of the device /dev/solo5/NAME, or 0.
func pathDevice(path uintptr) uint64 {
	if !prefix(path, devSolo5) {
		return 0
	}
	name := path + uintptr(len(devSolo5))
	n := uintptr(0)
	for n <= maxName && load8(name+n) != 0 {
		n++
	}
	return device(bytes(name, n))
}

// Operations of fcntl.
const (
	fcntlDup        = 0
	fcntlGetFD      = 1
	fcntlSetFD      = 2
	fcntlGetFlags   = 3
	fcntlSetFlags   = 4
	fcntlDupCloexec = 1030
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
		flags := int64(openReadWrt)
		if f.nonblock {
			flags |= openNonblk
		}
		return flags
	case fcntlSetFlags:
		f.nonblock = arg&openNonblk != 0
		return 0
	case fcntlDup, fcntlDupCloexec:
		return dup(f)
	}
	return errINVAL
}

// dup makes a second descriptor. A pipe counts its descriptors; the offset of a
// block device is copied, not shared.
func dup(f *file) int64 {
	n := *f
	n.polled, n.armedIn, n.armedOut = false, false, false
	fd := newFile(n)
	if fd >= 0 && (f.kind == pipeReader || f.kind == pipeWriter) {
		openPipe(f)
	}
	return fd
}

// Layout of struct stat (Linux x86 asm/stat.h).
const (
	statSize  = 144
	statMode  = 24
	statBytes = 48
	statBlock = 56

	modeFIFO  = 0o010000
	modeChar  = 0o020000
	modeDir   = 0o040000
	modeBlock = 0o060000
	modeRW    = 0o666
)

func stat(f *file, to uintptr) int64 {
	zero(to, statSize)
	mode, size := uint32(modeChar|modeRW), uint64(0)
	switch f.kind {
	case pipeReader, pipeWriter:
		mode = modeFIFO | modeRW
	case blockDevice:
		mode, size = modeBlock|modeRW, capacity(f.handle)
	}
	store32(to+statMode, mode)
	store64(to+statBytes, size)
	store64(to+statBlock, pageSize)
	return 0
}

// statPath knows what openat knows, and the directories above.
func statPath(path uintptr, to uintptr) int64 {
	if prefix(path, devNull) {
		return stat(&file{kind: null}, to)
	}
	if h := pathDevice(path); h != 0 {
		kind := uint8(netDevice)
		if deviceType(h) == typeBlock {
			kind = blockDevice
		}
		return stat(&file{kind: kind, handle: h}, to)
	}
	if prefix(path, "/\x00") || prefix(path, ".\x00") || prefix(path, "/dev\x00") || prefix(path, "/dev/solo5\x00") {
		zero(to, statSize)
		store32(to+statMode, modeDir|0o555)
		return 0
	}
	return errNOENT
}

// Origins of lseek.
const (
	seekSet     = 0
	seekCurrent = 1
	seekEnd     = 2
)

func lseek(f *file, offset int64, whence uint64) int64 {
	if f.kind != blockDevice {
		return errSPIPE
	}
	switch whence {
	case seekSet:
	case seekCurrent:
		offset += int64(f.offset)
	case seekEnd:
		offset += int64(capacity(f.handle))
	default:
		return errINVAL
	}
	if offset < 0 {
		return errINVAL
	}
	f.offset = uint64(offset)
	return offset
}
