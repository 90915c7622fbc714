package raw

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// opened are the descriptors that Undo closes. One that was closed since is
// closed again, which does nothing: nobody else had the number before.
var (
	opened     []int32
	openedRoom [256]int32
)

// made is the result of a call that makes a descriptor.
func made(fd uintptr, errno unix.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	if Early() {
		opened = append(opened, int32(fd))
	}
	return int(fd), nil
}

func failure(errno unix.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}

const atFDCWD = ^uintptr(99) // AT_FDCWD

// Open is open(2) of a file that exists. As with all of these calls, the error
// is a unix.Errno.
func Open(path string, flags int) (int, error) {
	if strings.IndexByte(path, 0) >= 0 {
		return -1, unix.EINVAL
	}
	p := CString(path)
	fd, _, errno := unix.RawSyscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&p[0])), uintptr(flags), 0, 0, 0)
	return made(fd, errno)
}

// Close is close(2).
func Close(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
	return failure(errno)
}

// Fstat is fstat(2).
func Fstat(fd int, st *unix.Stat_t) error {
	_, _, errno := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0)
	return failure(errno)
}

// Stat is stat(2).
func Stat(path string, st *unix.Stat_t) error {
	if strings.IndexByte(path, 0) >= 0 {
		return unix.EINVAL
	}
	p := CString(path)
	_, _, errno := unix.RawSyscall(unix.SYS_STAT, uintptr(unsafe.Pointer(&p[0])), uintptr(unsafe.Pointer(st)), 0)
	return failure(errno)
}

// Seek is lseek(2).
func Seek(fd int, offset int64, whence int) (int64, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_LSEEK, uintptr(fd), uintptr(offset), uintptr(whence))
	return int64(n), failure(errno)
}

// Pread is pread(2).
func Pread(fd int, b []byte, off int64) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(off), 0, 0)
	return int(n), failure(errno)
}

// ReadNothing is readv(2) into no buffers.
func ReadNothing(fd int) error {
	_, _, errno := unix.RawSyscall(unix.SYS_READV, uintptr(fd), 0, 0)
	return failure(errno)
}

// Write is write(2).
func Write(fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), failure(errno)
}

// Writev is writev(2) of at most 1024 pieces (UIO_MAXIOV).
func Writev(fd int, pieces [][]byte) (int, error) {
	var room [64]unix.Iovec
	v := room[:0]
	for _, b := range pieces {
		v = Append(v, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
	}
	n, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)))
	return int(n), failure(errno)
}

// Fcntl is fcntl(2) with a number.
func Fcntl(fd, cmd, arg int) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg))
	if cmd == unix.F_DUPFD_CLOEXEC {
		return made(n, errno)
	}
	return int(n), failure(errno)
}

// Ioctl is ioctl(2) with a structure.
func Ioctl[T any](fd int, request uint, arg *T) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(arg)))
	return failure(errno)
}

// MemfdCreate is memfd_create(2).
func MemfdCreate(name string, flags int) (int, error) {
	p := CString(name)
	fd, _, errno := unix.RawSyscall(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(&p[0])), uintptr(flags), 0)
	return made(fd, errno)
}

// EpollCreate is epoll_create1(2), closed on exec.
func EpollCreate() (int, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0)
	return made(fd, errno)
}

// EpollAdd is epoll_ctl(2) with EPOLL_CTL_ADD.
func EpollAdd(ep, fd int, event *unix.EpollEvent) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(ep), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(event)), 0, 0)
	return failure(errno)
}

// Socket is socket(2).
func Socket(domain, typ, protocol int) (int, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, uintptr(domain), uintptr(typ), uintptr(protocol))
	return made(fd, errno)
}

// GetsockoptInt is getsockopt(2) of an integer.
func GetsockoptInt(fd, level, option int) (int, error) {
	var n int32
	size := uint32(unsafe.Sizeof(n))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&n)), uintptr(unsafe.Pointer(&size)), 0)
	return int(n), failure(errno)
}

// HasPeer is getpeername(2) without the name.
func HasPeer(fd int) error {
	var name [128]byte // struct sockaddr_storage
	size := uint32(len(name))
	_, _, errno := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
	return failure(errno)
}

// PollNow is poll(2) of one descriptor, without waiting.
func PollNow(p *unix.PollFd) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_POLL, uintptr(unsafe.Pointer(p)), 1, 0)
	return int(n), failure(errno)
}

// populate has the kernel give all pages of a range at once, which is cheaper
// than one by one. Linux before 5.14 does not, and nothing is lost.
func populate(addr, size uintptr) {
	const page = 4096
	start := addr &^ (page - 1)
	unix.RawSyscall(unix.SYS_MADVISE, start, (addr+size-start)&^(page-1), unix.MADV_POPULATE_WRITE)
}

// Getrandom is getrandom(2), which may wait while the host boots.
func Getrandom(b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	return int(n), failure(errno)
}
