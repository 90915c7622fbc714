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
	fd, errno := Syscall6(unix.SYS_OPENAT, atFDCWD, uintptr(unsafe.Pointer(&p[0])), uintptr(flags), 0, 0, 0)
	return made(fd, errno)
}

// OpenAt is openat(2) of a file that exists in the directory dir.
func OpenAt(dir int, name string, flags int) (int, error) {
	p := CString(name)
	fd, errno := Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&p[0])), uintptr(flags), 0, 0, 0)
	return made(fd, errno)
}

// FileSystem is fstatfs(2): the type of the file system that fd is of.
func FileSystem(fd int) (int64, error) {
	var st unix.Statfs_t
	_, errno := Syscall6(unix.SYS_FSTATFS, uintptr(fd), uintptr(unsafe.Pointer(&st)), 0, 0, 0, 0)
	return st.Type, failure(errno)
}

// Close is close(2).
func Close(fd int) error {
	_, errno := Syscall6(unix.SYS_CLOSE, uintptr(fd), 0, 0, 0, 0, 0)
	return failure(errno)
}

// Fstat is fstat(2).
func Fstat(fd int, st *unix.Stat_t) error {
	_, errno := Syscall6(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0, 0, 0, 0)
	return failure(errno)
}

// Stat is stat(2).
func Stat(path string, st *unix.Stat_t) error {
	if strings.IndexByte(path, 0) >= 0 {
		return unix.EINVAL
	}
	p := CString(path)
	_, errno := Syscall6(unix.SYS_STAT, uintptr(unsafe.Pointer(&p[0])), uintptr(unsafe.Pointer(st)), 0, 0, 0, 0)
	return failure(errno)
}

// Seek is lseek(2).
func Seek(fd int, offset int64, whence int) (int64, error) {
	n, errno := Syscall6(unix.SYS_LSEEK, uintptr(fd), uintptr(offset), uintptr(whence), 0, 0, 0)
	return int64(n), failure(errno)
}

// Pread is pread(2).
func Pread(fd int, b []byte, off int64) (int, error) {
	n, errno := Syscall6(unix.SYS_PREAD64, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(off), 0, 0)
	return int(n), failure(errno)
}

// ReadNothing is readv(2) into no buffers. It fails where nothing can be read.
func ReadNothing(fd int) error {
	_, errno := Syscall6(unix.SYS_READV, uintptr(fd), 0, 0, 0, 0, 0)
	return failure(errno)
}

// WriteNothing is writev(2) of no buffers. It fails where nothing can be written.
func WriteNothing(fd int) error {
	_, errno := Syscall6(unix.SYS_WRITEV, uintptr(fd), 0, 0, 0, 0, 0)
	return failure(errno)
}

// Read is read(2).
func Read(fd int, b []byte) (int, error) {
	n, errno := Syscall6(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return int(n), failure(errno)
}

// Write is write(2).
func Write(fd int, b []byte) (int, error) {
	n, errno := Syscall6(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0)
	return int(n), failure(errno)
}

// Writev is writev(2) of at most 1024 pieces (UIO_MAXIOV).
func Writev(fd int, pieces [][]byte) (int, error) {
	var room [64]unix.Iovec
	v := room[:0]
	for _, b := range pieces {
		v = Append(v, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
	}
	n, errno := Syscall6(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(v))), uintptr(len(v)), 0, 0, 0)
	return int(n), failure(errno)
}

// Fcntl is fcntl(2) with a number.
func Fcntl(fd, cmd, arg int) (int, error) {
	n, errno := Syscall6(unix.SYS_FCNTL, uintptr(fd), uintptr(cmd), uintptr(arg), 0, 0, 0)
	if cmd == unix.F_DUPFD_CLOEXEC {
		return made(n, errno)
	}
	return int(n), failure(errno)
}

// Ioctl is ioctl(2) with a structure.
func Ioctl[T any](fd int, request uint, arg *T) error {
	_, errno := Syscall6(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(arg)), 0, 0, 0)
	return failure(errno)
}

// IoctlString is ioctl(2) with the bytes of arg, which the kernel only reads, or
// with the number 0 if there are none.
func IoctlString(fd, request int, arg string) error {
	p := unsafe.StringData(arg)
	if arg == "" {
		p = nil
	}
	_, errno := Syscall6(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(unsafe.Pointer(p)), 0, 0, 0)
	return failure(errno)
}

// AttachFilter is ioctl(2) TUNATTACHFILTER with a program of struct sock_filter.
func AttachFilter(fd int, program string) error {
	const size = 8
	prog := unix.SockFprog{Len: uint16(len(program) / size), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.StringData(program)))}
	_, errno := Syscall6(unix.SYS_IOCTL, uintptr(fd), unix.TUNATTACHFILTER, uintptr(unsafe.Pointer(&prog)), 0, 0, 0)
	return failure(errno)
}

// MemfdCreate is memfd_create(2).
func MemfdCreate(name string, flags int) (int, error) {
	p := CString(name)
	fd, errno := Syscall6(unix.SYS_MEMFD_CREATE, uintptr(unsafe.Pointer(&p[0])), uintptr(flags), 0, 0, 0, 0)
	return made(fd, errno)
}

// EpollCreate is epoll_create1(2), closed on exec.
func EpollCreate() (int, error) {
	fd, errno := Syscall6(unix.SYS_EPOLL_CREATE1, unix.EPOLL_CLOEXEC, 0, 0, 0, 0, 0)
	return made(fd, errno)
}

// EpollAdd is epoll_ctl(2) with EPOLL_CTL_ADD.
func EpollAdd(ep, fd int, event *unix.EpollEvent) error {
	_, errno := Syscall6(unix.SYS_EPOLL_CTL, uintptr(ep), unix.EPOLL_CTL_ADD, uintptr(fd), uintptr(unsafe.Pointer(event)), 0, 0)
	return failure(errno)
}

// MaxClose is the highest descriptor that is looked at where descriptors are closed
// one by one: a process may have more only where its limit is higher.
const MaxClose = 1<<20 - 1

// CloseRange is close_range(2), or many close(2) where that fails; it tells whether it
// does not.
func CloseRange(first, last int) bool {
	if _, errno := Call(unix.SYS_CLOSE_RANGE, uintptr(first), uintptr(last), 0); errno == 0 {
		return true
	}
	for fd := first; fd <= min(last, MaxClose); fd++ {
		Close(fd)
	}
	return false
}

// Socket is socket(2).
func Socket(domain, typ, protocol int) (int, error) {
	fd, errno := Syscall6(unix.SYS_SOCKET, uintptr(domain), uintptr(typ), uintptr(protocol), 0, 0, 0)
	return made(fd, errno)
}

// GetsockoptInt is getsockopt(2) of an integer.
func GetsockoptInt(fd, level, option int) (int, error) {
	var n int32
	size := uint32(unsafe.Sizeof(n))
	_, errno := Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&n)), uintptr(unsafe.Pointer(&size)), 0)
	return int(n), failure(errno)
}

// HasPeer is getpeername(2) without the name.
func HasPeer(fd int) error {
	var name [128]byte // struct sockaddr_storage
	size := uint32(len(name))
	_, errno := Syscall6(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)), 0, 0, 0)
	return failure(errno)
}

// PollNow is poll(2) of one descriptor, without waiting.
func PollNow(p *unix.PollFd) (int, error) {
	n, errno := Syscall6(unix.SYS_POLL, uintptr(unsafe.Pointer(p)), 1, 0, 0, 0, 0)
	return int(n), failure(errno)
}

// populate makes the kernel provide all pages of a range in one call, which is
// cheaper than one by one. Linux before 5.14 does not, and nothing is lost.
func populate(addr, size uintptr) {
	const page = 4096
	start := addr &^ (page - 1)
	Syscall6(unix.SYS_MADVISE, start, (addr+size-start)&^(page-1), unix.MADV_POPULATE_WRITE, 0, 0, 0)
}

// Getrandom is getrandom(2), which may wait while the host boots.
func Getrandom(b []byte) (int, error) {
	n, errno := Syscall6(unix.SYS_GETRANDOM, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0, 0, 0, 0)
	return int(n), failure(errno)
}

// TimerfdCreate is timerfd_create(2) of the monotonic clock, non-blocking and
// closed on exec.
func TimerfdCreate() (int, error) {
	fd, errno := Syscall6(unix.SYS_TIMERFD_CREATE, unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC, 0, 0, 0, 0)
	return made(fd, errno)
}

// BootID is the file that tells one start of the host from all others.
const BootID = "/proc/sys/kernel/random/boot_id"

// Clock returns the time of a clock (clock_gettime(2)) in nanoseconds.
func Clock(clock int) int64 {
	var t unix.Timespec
	Syscall6(unix.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&t)), 0, 0, 0, 0)
	return t.Nano()
}

// Exit ends the process, which has one thread. Where a filter refuses the call, so
// does another that ends the thread; where that is refused too, a fault.
func Exit(status int) {
	Syscall6(unix.SYS_EXIT_GROUP, uintptr(status), 0, 0, 0, 0, 0)
	Syscall6(unix.SYS_EXIT, uintptr(status), 0, 0, 0, 0, 0)
	halt()
}

// Call is a system call with arguments that are numbers.
func Call(nr uintptr, args ...uintptr) (uintptr, unix.Errno) {
	var a [6]uintptr
	copy(a[:], args)
	r, errno := Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return r, errno
}

// Fsopen is fsopen(2), closed on exec.
func Fsopen(name string) (int, error) {
	p := CString(name)
	fd, errno := Syscall6(unix.SYS_FSOPEN, uintptr(unsafe.Pointer(&p[0])), unix.FSOPEN_CLOEXEC, 0, 0, 0, 0)
	return made(fd, errno)
}

// LandlockRuleset is landlock_create_ruleset(2) of a struct landlock_ruleset_attr.
func LandlockRuleset(attr []byte) (int, error) {
	fd, errno := Syscall6(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(unsafe.SliceData(attr))), uintptr(len(attr)), 0, 0, 0, 0)
	return made(fd, errno)
}
