package kernel

import "gocat/internal/abi"

// Numbers of the system calls that are answered (Linux asm/unistd_64.h).
const (
	sysRead                = 0
	sysWrite               = 1
	sysOpen                = 2
	sysClose               = 3
	sysStat                = 4
	sysFstat               = 5
	sysLstat               = 6
	sysPoll                = 7
	sysLseek               = 8
	sysMmap                = 9
	sysMprotect            = 10
	sysMunmap              = 11
	sysMsync               = 26
	sysSigaction           = 13
	sysSigprocmask         = 14
	sysSigreturn           = 15
	sysIoctl               = 16
	sysPread               = 17
	sysPwrite              = 18
	sysReadv               = 19
	sysWritev              = 20
	sysAccess              = 21
	sysSelect              = 23
	sysYield               = 24
	sysMadvise             = 28
	sysDup                 = 32
	sysDup2                = 33
	sysNanosleep           = 35
	sysSetitimer           = 38
	sysGetpid              = 39
	sysClone               = 56
	sysExit                = 60
	sysKill                = 62
	sysUname               = 63
	sysFcntl               = 72
	sysFlock               = 73
	sysFsync               = 74
	sysFdatasync           = 75
	sysTruncate            = 76
	sysFtruncate           = 77
	sysGetcwd              = 79
	sysChdir               = 80
	sysFchdir              = 81
	sysRename              = 82
	sysMkdir               = 83
	sysRmdir               = 84
	sysLink                = 86
	sysUnlink              = 87
	sysSymlink             = 88
	sysReadlink            = 89
	sysChmod               = 90
	sysFchmod              = 91
	sysChown               = 92
	sysFchown              = 93
	sysLchown              = 94
	sysUmask               = 95
	sysGettimeofday        = 96
	sysGetrlimit           = 97
	sysGetrusage           = 98
	sysSysinfo             = 99
	sysGetuid              = 102
	sysGetgid              = 104
	sysGeteuid             = 107
	sysGetegid             = 108
	sysGetppid             = 110
	sysGetpgrp             = 111
	sysGetgroups           = 115
	sysGetpgid             = 121
	sysGetsid              = 124
	sysMknod               = 133
	sysStatfs              = 137
	sysFstatfs             = 138
	sysGetpriority         = 140
	sysSigaltstack         = 131
	sysMlock               = 149
	sysMunlock             = 150
	sysArchPrctl           = 158
	sysSetrlimit           = 160
	sysSync                = 162
	sysGettid              = 186
	sysTime                = 201
	sysFutex               = 202
	sysGetaffinity         = 204
	sysClockGettime        = 228
	sysExitGroup           = 231
	sysEpollControl        = 233
	sysTgkill              = 234
	sysGetdents64          = 217
	sysOpenat              = 257
	sysMkdirat             = 258
	sysMknodat             = 259
	sysFchownat            = 260
	sysNewfstatat          = 262
	sysUnlinkat            = 263
	sysRenameat            = 264
	sysLinkat              = 265
	sysSymlinkat           = 266
	sysReadlinkat          = 267
	sysFchmodat            = 268
	sysFaccessat           = 269
	sysPselect             = 270
	sysPpoll               = 271
	sysUtimensat           = 280
	sysFallocate           = 285
	sysEpollWait           = 281
	sysEventFD             = 290
	sysEpollCreate         = 291
	sysDup3                = 292
	sysPipe2               = 293
	sysPrlimit             = 302
	sysRenameat2           = 316
	sysGetrandom           = 318
	sysFaccessat2          = 439
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
		if c&protExec != 0 {
			return errACCES
		}
		if t.r10&mapAnonymous == 0 {
			return mapFile(uintptr(a), uintptr(b), c, t.r10, t.r8, t.r9)
		}
		if t.r10&mapFixed != 0 && mapped(uintptr(a), uintptr(b)) {
			return errINVAL
		}
		return mmap(uintptr(a), uintptr(b), c, t.r10)
	case sysMunmap:
		return unmap(uintptr(a), uintptr(b))
	case sysMsync, sysMlock, sysMunlock: // a mapping is the file, and memory stays
		if b > 0 && !memory.contains(uintptr(a), uintptr(b)) {
			return errNOMEM
		}
		return 0
	case sysMadvise:
		if mapped(uintptr(a), uintptr(b)) {
			return 0 // advice that a file's contents are not needed is not to lose them
		}
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
		return newFile(file{kind: eventFD}, openFile{access: openReadWrt, nonblock: b&openNonblk != 0, offset: a})
	case sysGettid:
		return int64(t.index()) + 1
	case sysGetpid:
		return 1
	case sysGetuid, sysGetgid, sysGeteuid, sysGetegid, sysGetppid:
		return 0
	case sysSigaction:
		return sigaction(a, uintptr(b), uintptr(c))
	case sysSigaltstack:
		return t.sigaltstack(uintptr(a), uintptr(b))
	case sysSigprocmask:
		return t.sigprocmask(a, uintptr(b), uintptr(c))
	case sysSigreturn:
		return t.sigreturn()
	case sysKill:
		return kill(a, b)
	case sysTgkill:
		return tgkill(b, c)
	case sysSetitimer:
		return setitimer(a, uintptr(b), uintptr(c))
	case sysArchPrctl:
		return archPrctl(a, uintptr(b))
	case sysGetrandom:
		return getrandom(uintptr(a), uintptr(b))
	}
	if t.rax>>8 == abi.CallDevice>>8 {
		return solo5Call(t)
	}
	return fileCall(t)
}

// fileCall answers the calls that have to do with files, and what remains.
func fileCall(t *thread) int64 {
	a, b, c := t.rdi, t.rsi, t.rdx
	switch t.rax {
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
	case sysPoll, sysPpoll, sysSelect, sysPselect:
		return selectCall(t)
	case sysDup2:
		return dup3(a, b, int64(b))
	case sysDup3:
		return dup3(a, b, errINVAL)
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
			return dup(f, 0)
		}
		return errNOTTY
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
	return pathCall(t)
}

// here is the descriptor of calls without one: the working directory.
const here = 1<<64 + atWorkDir

// pathCall answers the calls that have to do with the tree of files.
func pathCall(t *thread) int64 {
	a, b, c := t.rdi, t.rsi, t.rdx
	p, q := uintptr(a), uintptr(b)
	switch t.rax {
	case sysOpen:
		return openat(here, p, b, c)
	case sysOpenat:
		return openat(a, q, c, t.r10)
	case sysStat:
		return statAt(here, p, q, 0)
	case sysLstat:
		return statAt(here, p, q, atNoFollow)
	case sysNewfstatat:
		return statAt(a, q, uintptr(c), t.r10)
	case sysAccess:
		return access(here, p, b)
	case sysFaccessat, sysFaccessat2:
		return access(a, q, c)
	case sysMkdir:
		return mkdirat(here, p, b)
	case sysMkdirat:
		return mkdirat(a, q, c)
	case sysUnlink:
		return unlinkat(here, p, 0)
	case sysRmdir:
		return unlinkat(here, p, atRemoveDir)
	case sysUnlinkat:
		return unlinkat(a, q, c)
	case sysRename:
		return renameat(here, p, here, q, 0)
	case sysRenameat:
		return renameat(a, q, c, uintptr(t.r10), 0)
	case sysRenameat2:
		return renameat(a, q, c, uintptr(t.r10), t.r8)
	case sysSymlink:
		return symlinkat(p, here, q)
	case sysSymlinkat:
		return symlinkat(p, b, uintptr(c))
	case sysReadlink:
		return readlinkat(here, p, q, uintptr(c))
	case sysReadlinkat:
		return readlinkat(a, q, uintptr(c), uintptr(t.r10))
	case sysLink, sysLinkat, sysMknod, sysMknodat:
		return errPERM
	case sysGetdents64:
		return getdents(a, q, uintptr(c))
	case sysGetcwd:
		return pathOf(workDir, p, uintptr(b))
	case sysStatfs, sysFstatfs:
		return statfs(q)
	case sysFlock:
		return flock(t, a, b)
	case sysFsync, sysFdatasync:
		if fileOf(a) == nil {
			return errBADF
		}
		return 0
	case sysSync:
		return 0
	case sysUmask:
		was := umask
		umask = uint32(a) & 0o777
		return int64(was)
	}
	return attributeCall(t)
}

// attributeCall answers the calls that change a file otherwise.
func attributeCall(t *thread) int64 {
	a, b, c := t.rdi, t.rsi, t.rdx
	var i int32
	var err int64
	switch t.rax { // where the file is
	case sysChdir, sysChmod, sysChown, sysTruncate:
		i, err = existing(here, uintptr(a), true)
	case sysLchown:
		i, err = existing(here, uintptr(a), false)
	case sysFchdir, sysFchmod, sysFchown, sysFtruncate, sysFallocate:
		i, err = opened(a)
	case sysFchmodat:
		i, err = existing(a, uintptr(b), true)
	case sysFchownat:
		i, err = existing(a, uintptr(b), t.r8&atNoFollow == 0)
	case sysUtimensat:
		return utimes(a, uintptr(b), uintptr(c), t.r10)
	default:
		return hostCall(t)
	}
	switch t.rax {
	case sysChdir, sysFchdir:
		return chdir(i, err)
	case sysChmod, sysFchmod:
		return chmod(i, err, b)
	case sysFchmodat:
		return chmod(i, err, c)
	case sysTruncate, sysFtruncate:
		return truncate(i, err, b)
	case sysFallocate:
		if err < 0 || b != 0 {
			return min(err, errOPNOTSUPP)
		}
		return truncate(i, err, max(c+t.r10, uint64(at(i).size)))
	}
	return chown(i, err)
}

// hostCall answers the calls that ask about the host.
func hostCall(t *thread) int64 {
	a, b := uintptr(t.rdi), uintptr(t.rsi)
	switch t.rax {
	case sysGetrusage:
		const size = 144
		zero(b, size)
		ns := monotonic() - startTime
		store64(b, uint64(ns/second))
		store64(b+8, uint64(ns%second/1000))
		return 0
	case sysSysinfo:
		const size = 112
		zero(a, size)
		free := memory.limit - memory.base
		for _, r := range memory.regions[:memory.n] {
			free -= r.end - r.start
		}
		store64(a, uint64((monotonic()-startTime)/second))
		store64(a+32, uint64(bootMemory))
		store64(a+40, uint64(free))
		store16(a+80, 1)  // processes
		store32(a+104, 1) // bytes a unit
		return 0
	case sysGetgroups, sysGetpgid, sysGetpgrp, sysGetsid, sysSetrlimit, sysGetpriority:
		return 0
	}
	return errNOSYS
}

// archPrctl sets the thread pointer, once: afterwards only the word below it,
// which holds Go's g, changes with the thread.
func archPrctl(code uint64, base uintptr) int64 {
	if code != abi.ArchSetFS || tlsSlot != 0 {
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
