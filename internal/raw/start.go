package raw

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Try is jumped to by an entry point: see early_amd64.s.
func Try()

// abandonPC returns the address of abandon, which leaves start.
func abandonPC() uintptr

// maxArgs bounds how many arguments are looked at early. A guest's command line
// holds half as many.
const maxArgs = 1 << 14

// begun says that start has got as far as to leave something to undo.
var begun bool

// start calls main with the arguments of the process. When it returns, or is left
// by a fault, undo follows.
//
//lint:ignore U1000 Try calls it
func start(argc int, argv **byte, main func(args []string)) {
	arguments = unsafe.Slice(argv, argc)
	if argc > maxArgs || !standard() || secure() {
		return
	}
	begun = true
	protectData()
	Begin()
	args := Slice[string](argc, argc)
	for i, arg := range arguments {
		args[i] = unsafe.String(arg, length(arg))
	}
	main(args)
}

// secure reports whether execve gave the program privileges, or a security module
// says that it might have (AT_SECURE): which is for the ordinary start to look at.
func secure() bool {
	const atSecure = 23
	return Auxiliary(atSecure) != 0
}

// length is the length of a C string.
func length(s *byte) (n int) {
	for *(*byte)(unsafe.Add(unsafe.Pointer(s), n)) != 0 {
		n++
	}
	return n
}

// arguments are those of the process, where the kernel has put them.
var arguments []*byte

// Getenv returns the value of a variable of the process's environment, "" if it
// is not set or the process has started ordinarily.
func Getenv(name string) string {
	if arguments == nil {
		return ""
	}
	for env := environment(); *env != nil; env = following(env) {
		if s := unsafe.String(*env, length(*env)); len(s) > len(name) && s[:len(name)] == name && s[len(name)] == '=' {
			return s[len(name)+1:]
		}
	}
	return ""
}

// environment returns where the pointers to the environment are, which follow
// those to the arguments and a null, and end with another.
func environment() **byte {
	env := (**byte)(unsafe.SliceData(arguments))
	for range len(arguments) + 1 {
		env = following(env)
	}
	return env
}

// Auxiliary returns an entry of the process's auxiliary vector (getauxval(3)), 0 if
// it is not there or the process has started ordinarily.
func Auxiliary(tag uintptr) uintptr {
	if arguments == nil {
		return 0
	}
	p := environment()
	for *p != nil {
		p = following(p)
	}
	type entry struct{ tag, value uintptr }
	for e := (*entry)(unsafe.Pointer(following(p))); e.tag != 0; e = (*entry)(unsafe.Add(unsafe.Pointer(e), unsafe.Sizeof(*e))) {
		if e.tag == tag {
			return e.value
		}
	}
	return 0
}

func following(p **byte) **byte { return (**byte)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) }

// Forget wipes the last n arguments of the process and its whole environment,
// where the kernel, and so everybody with /proc, reads them. Only a process that
// will not start ordinarily any more may call it.
func Forget(n int) {
	// The strings lie one after the other, in this order (fs/binfmt_elf.c).
	var first, last *byte
	if n > 0 && n <= len(arguments) {
		first = arguments[len(arguments)-n]
		last = arguments[len(arguments)-1]
	}
	if arguments != nil {
		for env := environment(); *env != nil; env = following(env) {
			if first == nil {
				first = *env
			}
			last = *env
		}
	}
	if first != nil {
		clear(unsafe.Slice(first, uintptr(unsafe.Pointer(last))-uintptr(unsafe.Pointer(first))+uintptr(length(last))))
	}
}

// Executable returns the path of the process's program, "" if /proc does not tell.
func Executable() string {
	b := Slice[byte](unix.PathMax, unix.PathMax)
	path := CString("/proc/self/exe")
	n, errno := Syscall6(unix.SYS_READLINK, uintptr(unsafe.Pointer(&path[0])), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0, 0, 0)
	if errno != 0 || n >= uintptr(len(b)) {
		return ""
	}
	return String(b[:n])
}

// Replace replaces the process by the program at a path, with the arguments and the
// environment that this one was started with. It returns if there is no such program,
// or the process has started ordinarily.
func Replace(path string) {
	if arguments == nil {
		return
	}
	name := CString(path)
	Syscall6(unix.SYS_EXECVE, uintptr(unsafe.Pointer(&name[0])), uintptr(unsafe.Pointer(unsafe.SliceData(arguments))), uintptr(unsafe.Pointer(environment())), 0, 0, 0)
}

// standard reports whether the standard descriptors are open. The Go runtime
// opens those that are not, so what follows must not be without it.
func standard() bool {
	for fd := range 3 {
		if _, err := Fcntl(fd, unix.F_GETFD, 0); err != nil {
			return false
		}
	}
	return true
}

// runtimeSpace is how much address space the Go runtime takes to start, in bytes.
const runtimeSpace = 704 << 20

// noRoom is what ends the process instead of an ordinary start for which there is
// no address space.
var noRoom struct {
	line   string
	status int
}

// NoRoom sets the line on standard error and the exit status with which the
// process ends where the limit on address space leaves too little for an ordinary
// start: the Go runtime would print its stacks.
func NoRoom(line string, status int) { noRoom.line, noRoom.status = line, status }

// checkRoom ends a process that has no room for an ordinary start.
//
//go:nosplit
func checkRoom() {
	l := unix.Rlimit{Cur: 1<<64 - 1} // stays, where a filter answers the call
	// Not prlimit64: a filter may trap that, which is then why this is called, and
	// its signal is blocked.
	_, errno := Syscall6(unix.SYS_GETRLIMIT, unix.RLIMIT_AS, uintptr(unsafe.Pointer(&l)), 0, 0, 0, 0)
	if errno == 0 && l.Cur < runtimeSpace && noRoom.line != "" {
		say(noRoom.line)
		Syscall6(unix.SYS_EXIT_GROUP, uintptr(noRoom.status), 0, 0, 0, 0, 0)
	}
}

// undo makes the process what it was.
//
//lint:ignore U1000 Try calls it
//go:nosplit
func undo() {
	checkRuntime()
	if begun {
		checkRoom()
		begun = false
		Undo()
	}
	unprotectData()
	arguments = nil
	release()
}
