package kernel

// Numbers of the system calls that are answered (Linux asm/unistd_64.h).
const (
	sysRead                = 0
	sysWrite               = 1
	sysClose               = 3
	sysStat                = 4
	sysFstat               = 5
	sysLstat               = 6
	sysLseek               = 8
	sysMmap                = 9
	sysMprotect            = 10
	sysMunmap              = 11
	sysSigaction           = 13
	sysSigprocmask         = 14
	sysSigreturn           = 15
	sysIoctl               = 16
	sysPread               = 17
	sysPwrite              = 18
	sysReadv               = 19
	sysWritev              = 20
	sysYield               = 24
	sysMadvise             = 28
	sysDup                 = 32
	sysNanosleep           = 35
	sysGetpid              = 39
	sysClone               = 56
	sysExit                = 60
	sysKill                = 62
	sysUname               = 63
	sysFcntl               = 72
	sysGetcwd              = 79
	sysGettimeofday        = 96
	sysGetrlimit           = 97
	sysGetuid              = 102
	sysGetgid              = 104
	sysGeteuid             = 107
	sysGetegid             = 108
	sysGetppid             = 110
	sysSigaltstack         = 131
	sysArchPrctl           = 158
	sysGettid              = 186
	sysTime                = 201
	sysFutex               = 202
	sysGetaffinity         = 204
	sysClockGettime        = 228
	sysExitGroup           = 231
	sysEpollControl        = 233
	sysTgkill              = 234
	sysOpenat              = 257
	sysNewfstatat          = 262
	sysFaccessat           = 269
	sysEpollWait           = 281
	sysEventFD             = 290
	sysEpollCreate         = 291
	sysPipe2               = 293
	sysPrlimit             = 302
	sysGetrandom           = 318
	sysFaccessat2          = 439
	archSetFS              = 0x1002
	affinitySize           = 8
	unlimited       uint64 = 1<<64 - 1
)

// syscall answers the call in t's registers: a result as Linux gives it, or
// block when t waits.
func syscall(t *thread) int64 {
	a, b, c := t.rdi, t.rsi, t.rdx
	switch t.rax {
	case sysRead:
		return read(t, a, uintptr(b), uintptr(c))
	case sysWrite:
		return write(t, a, uintptr(b), uintptr(c))
	case sysFutex:
		return futex(t, uintptr(a), b, c, uintptr(t.r10))
	case sysClockGettime:
		return clockGettime(a, uintptr(b))
	case sysEpollWait:
		return epollWait(t, a, uintptr(b), int64(int32(c)), int64(int32(t.r10)))
	case sysYield:
		return yield(t)
	case sysNanosleep:
		return nanosleep(t, uintptr(a))
	case sysMmap:
		return mmap(uintptr(a), uintptr(b), c, t.r10)
	case sysMunmap:
		return munmap(uintptr(a), uintptr(b))
	case sysMadvise:
		return madvise(uintptr(a), uintptr(b), c)
	case sysMprotect:
		return mprotect(uintptr(a), uintptr(b), c)
	case sysClone:
		return clone(t, a, b)
	case sysExit:
		return exitThread(t, a)
	case sysExitGroup:
		exit(a)
	case sysEpollCreate:
		return epollCreate()
	case sysEpollControl:
		return epollControl(a, b, c, uintptr(t.r10))
	case sysEventFD:
		changed = true
		return newFile(file{kind: eventFD, offset: a, nonblock: b&openNonblk != 0})
	case sysGettid:
		return int64(t.index()) + 1
	case sysGetpid:
		return 1
	case sysGetuid, sysGetgid, sysGeteuid, sysGetegid, sysGetppid:
		return 0
	case sysSigaction:
		return sigaction(a, uintptr(b))
	case sysSigaltstack:
		return t.sigaltstack(uintptr(a))
	case sysSigprocmask:
		return t.sigprocmask(a, uintptr(b), uintptr(c))
	case sysSigreturn:
		return t.sigreturn()
	case sysKill:
		return kill(b)
	case sysTgkill:
		if c == signalUrgent {
			return preempt(b)
		}
		return kill(c)
	case sysArchPrctl:
		return archPrctl(a, uintptr(b))
	case sysGetrandom:
		return getrandom(uintptr(a), uintptr(b))
	}
	if t.rax>>8 == sysSolo5>>8 {
		return solo5Call(t)
	}
	return fileCall(t)
}

// fileCall answers the calls that have to do with files, and what remains.
func fileCall(t *thread) int64 {
	a, b, c := t.rdi, t.rsi, t.rdx
	switch t.rax {
	case sysOpenat:
		return openat(uintptr(b), c)
	case sysClose:
		return closeFile(a)
	case sysPread:
		return transferAt(a, uintptr(b), uintptr(c), t.r10, false)
	case sysPwrite:
		return transferAt(a, uintptr(b), uintptr(c), t.r10, true)
	case sysReadv:
		return vector(t, a, uintptr(b), c, false)
	case sysWritev:
		return vector(t, a, uintptr(b), c, true)
	case sysFcntl:
		return fcntl(a, b, c)
	case sysPipe2:
		return pipe2(uintptr(a), b)
	case sysFstat, sysLseek, sysDup, sysIoctl:
		f := fileOf(a)
		if f == nil {
			return errBADF
		}
		switch t.rax {
		case sysFstat:
			return stat(f, uintptr(b))
		case sysLseek:
			return lseek(f, int64(b), c)
		case sysDup:
			return dup(f)
		}
		return errNOTTY
	case sysStat, sysLstat:
		return statPath(uintptr(a), uintptr(b))
	case sysNewfstatat:
		if f := fileOf(a); f != nil && load8(uintptr(b)) == 0 { // AT_EMPTY_PATH
			return stat(f, uintptr(c))
		}
		return statPath(uintptr(b), uintptr(c))
	case sysFaccessat, sysFaccessat2:
		return access(uintptr(b))
	case sysGetcwd:
		if b < 2 {
			return errRANGE
		}
		store16(uintptr(a), '/')
		return 2
	case sysUname:
		return uname(uintptr(a))
	case sysGetrlimit:
		store64(uintptr(b), unlimited)
		store64(uintptr(b)+8, unlimited)
		return 0
	case sysPrlimit:
		if t.r10 != 0 {
			store64(uintptr(t.r10), unlimited)
			store64(uintptr(t.r10)+8, unlimited)
		}
		return 0
	case sysGetaffinity:
		if b < affinitySize {
			return errINVAL
		}
		store64(uintptr(c), 1)
		return affinitySize
	case sysGettimeofday:
		ns := wall()
		store64(uintptr(a), uint64(ns/second))
		store64(uintptr(a)+8, uint64(ns%second/1000))
		return 0
	case sysTime:
		return wall() / second
	}
	return errNOSYS
}

// access says whether a path can be opened or listed.
func access(path uintptr) int64 {
	var buf [statSize]byte
	return statPath(path, addressOf(&buf[0]))
}

// Signals that do nothing unless a program asks for them (signal(7)).
const (
	signalChild    = 17
	signalContinue = 18
	signalUrgent   = 23 // Go's runtime preempts with it
	signalWindow   = 28
)

// kill ends the program with the status that a shell shows for the signal, unless
// it is one that does nothing.
func kill(signal uint64) int64 {
	switch signal {
	case 0, signalChild, signalContinue, signalUrgent, signalWindow:
		return 0
	}
	exit(128 + signal)
	return 0
}

// archPrctl sets the thread pointer, once: afterwards only the word below it,
// which holds Go's g, changes with the thread.
func archPrctl(code uint64, base uintptr) int64 {
	if code != archSetFS || tlsSlot != 0 {
		return errINVAL
	}
	tlsSlot = base - 8
	return setThreadPointer(base)
}

func uname(to uintptr) int64 {
	const field = 65 // __NEW_UTS_LEN + 1
	const names = "Linux\x00solo5\x005.9.0\x00gocat\x00x86_64\x00(none)\x00"
	zero(to, 6*field)
	at := to
	for i := range len(names) {
		if c := names[i]; c != 0 {
			store8(at, c)
			at++
			continue
		}
		at = to + (at-to)/field*field + field
	}
	return 0
}
