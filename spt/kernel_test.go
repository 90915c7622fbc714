package spt

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/seccomp"
)

// modelKernel is what a sealed guest's plan acts on: a table of descriptors, an
// address space and little else. It knows the calls that plans make, from the
// manual and not from the code that makes plans.
type modelKernel struct {
	fds       map[int]*modelFile
	watched   map[int]uint64 // descriptors in an epoll, and their data
	pages     []modelPage    // of guest memory, from address 0
	low, high modelMapping   // below guest memory and above it
	noProc    bool
	pid       uint64
	inherited uint64 // seccomp mode that the process starts with
	refuses   bool   // every layer of isolation fails
	last      uint64 // result of the call before
	nnp       bool
	locked    bool   // by Landlock
	filter    []byte // struct sock_filter, once installed
	elf       []byte
	loads     []modelLoad
}

// modelFile is an open file description.
type modelFile struct {
	is   string // what it is of: two descriptions may be of the same
	kind string // pipe, tty, file, socket, disk, tun, tap, epoll, timer, event, inet
	mode uint64 // access mode and O_NONBLOCK
	size uint64

	plain, filtered, settled bool // of a tap: IFF_NO_PI, a socket filter, no offloads
}

// modelPage is a page of guest memory.
type modelPage struct {
	prot image.Prot
	from int // offset of its contents in the executable, or one of the following
}

const (
	pageUnmapped = -1 - iota
	pageZeroed
)

// modelMapping says what of memory that is not the guest's is mapped.
type modelMapping uint8

const (
	notMapped modelMapping = iota
	isMapped
	isSealed // unmapping it fails
	onlySealed
)

type modelLoad struct{ addr, offset, size uint64 }

// bytes are n bytes of the executable at a guest address.
func (k *modelKernel) bytes(addr, n uint64) ([]byte, error) {
	for _, l := range k.loads {
		if addr >= l.addr && addr-l.addr < l.size && n <= l.size-(addr-l.addr) {
			return k.elf[l.offset+addr-l.addr:][:n], nil
		}
	}
	return nil, fmt.Errorf("%d bytes at %#x are not from the executable", n, addr)
}

func (k *modelKernel) text(addr uint64) (string, error) {
	for n := uint64(1); n < 4096; n++ {
		b, err := k.bytes(addr, n)
		if err != nil {
			return "", err
		}
		if b[n-1] == 0 {
			return string(b[:n-1]), nil
		}
	}
	return "", fmt.Errorf("no string at %#x", addr)
}

// add gives a file the lowest free number.
func (k *modelKernel) add(f modelFile) uint64 {
	n := 0
	for k.fds[n] != nil {
		n++
	}
	k.fds[n] = &f
	return uint64(n)
}

func (k *modelKernel) close(n int) uint64 {
	if k.fds[n] == nil {
		return plan.Errno(unix.EBADF)
	}
	delete(k.fds, n)
	delete(k.watched, n)
	return 0
}

// call makes a system call. The error is one that no plan should make.
func (k *modelKernel) call(nr uint64, a [6]uint64) (uint64, error) {
	if k.filter != nil {
		if nr == unix.SYS_GETPID {
			return plan.Errno(seccomp.Holds), nil
		}
		return 0, fmt.Errorf("call %d after the filter", nr)
	}
	if nr < plan.Differ && a[0] <= 1<<31-1 {
		if result, ok, err := k.fileCall(nr, int(a[0]), a); ok || err != nil {
			return result, err
		}
	}
	switch nr {
	case unix.SYS_UNSHARE, unix.SYS_CHROOT, unix.SYS_LANDLOCK_CREATE_RULESET:
		if k.inherited != 0 {
			return 0, fmt.Errorf("call %d under a filter that may kill for it", nr)
		}
	}
	switch nr {
	case unix.SYS_OPENAT:
		return k.open(a)
	case unix.SYS_SOCKET:
		return k.add(modelFile{is: "inet", kind: "inet"}), nil
	case unix.SYS_EVENTFD2:
		return k.add(modelFile{is: "event", kind: "event"}), nil
	case unix.SYS_EPOLL_CREATE1:
		return k.add(modelFile{is: "epoll", kind: "epoll"}), nil
	case unix.SYS_TIMERFD_CREATE:
		return k.add(modelFile{is: "timer", kind: "timer"}), nil
	case unix.SYS_GETPID:
		return k.pid, nil
	case unix.SYS_SIGALTSTACK, unix.SYS_RT_SIGACTION:
		_, err := k.bytes(a[map[bool]int{true: 0, false: 1}[nr == unix.SYS_SIGALTSTACK]], 24)
		return 0, err
	case plan.Last:
		return k.last, nil
	case plan.Differ:
		var words [2]uint64
		for i := range words {
			b, err := k.bytes(a[i], 8)
			if err != nil {
				return 0, err
			}
			words[i] = binary.LittleEndian.Uint64(b)
		}
		return map[bool]uint64{true: 1}[(words[0]^words[1])&a[2] != 0], nil
	case unix.SYS_WRITE: // lines about layers
		_, err := k.bytes(a[1], a[2])
		return a[2], err
	case unix.SYS_PRCTL:
		switch a[0] {
		case unix.PR_SET_NAME:
			_, err := k.text(a[1])
			return 0, err
		case unix.PR_GET_SECCOMP:
			return k.inherited, nil
		case unix.PR_SET_DUMPABLE:
			if a[1] > 1 {
				return plan.Errno(unix.EINVAL), nil
			}
			return k.layer(), nil
		case unix.PR_CAPBSET_DROP, unix.PR_SET_SECUREBITS:
			return k.layer(), nil
		case unix.PR_GET_SECUREBITS:
			return isolate.SecurebitsLocked, nil
		case unix.PR_GET_DUMPABLE:
			return 0, nil
		case unix.PR_GET_NO_NEW_PRIVS:
			return map[bool]uint64{true: 1}[k.nnp], nil
		case unix.PR_SET_NO_NEW_PRIVS:
			k.nnp = a[1] == 1 && a[2]|a[3]|a[4] == 0
			return 0, nil
		}
	case unix.SYS_UNSHARE:
		return k.layer(), nil
	case unix.SYS_CHDIR, unix.SYS_CHROOT:
		_, err := k.text(a[0])
		return k.layer(), err
	case unix.SYS_CAPSET:
		_, err := k.bytes(a[1], 24)
		return k.layer(), err
	case unix.SYS_CAPGET:
		b, err := k.bytes(a[1], 24)
		clear(b)
		return 0, err
	case unix.SYS_PRLIMIT64:
		at := a[2]
		if at == 0 {
			at = a[3]
		}
		b, err := k.bytes(at, 16)
		if a[3] != 0 {
			clear(b)
		}
		return k.layer(), err
	case unix.SYS_LANDLOCK_CREATE_RULESET:
		switch {
		case k.refuses:
			return plan.Errno(unix.EOPNOTSUPP), nil
		case a[2] == unix.LANDLOCK_CREATE_RULESET_VERSION:
			return 7, nil
		}
		_, err := k.bytes(a[0], a[1])
		return k.add(modelFile{is: "ruleset", kind: "ruleset"}), err
	case unix.SYS_LANDLOCK_RESTRICT_SELF:
		if f := k.fds[int(a[0])]; f == nil || f.kind != "ruleset" || !k.nnp {
			return 0, fmt.Errorf("landlock_restrict_self %#x, no_new_privs %v", a, k.nnp)
		}
		k.locked = true
		return 0, nil
	case unix.SYS_SECCOMP:
		return k.seccomp(a)
	case unix.SYS_MUNMAP, plan.Around, unix.SYS_MMAP:
		return k.memory(nr, a)
	}
	return 0, fmt.Errorf("call %d with %#x, which this kernel does not know", nr, a)
}

// layer is the result of a call that sets up a layer of isolation.
func (k *modelKernel) layer() uint64 {
	if k.refuses {
		return plan.Errno(unix.EPERM)
	}
	return 0
}

// fileCall makes a system call whose first argument is a descriptor.
func (k *modelKernel) fileCall(nr uint64, fd int, a [6]uint64) (result uint64, ok bool, err error) {
	f := k.fds[fd]
	switch nr {
	case unix.SYS_CLOSE_RANGE:
		if a[1] < a[0] || a[2] != 0 {
			return plan.Errno(unix.EINVAL), true, nil
		}
		for n := range k.fds {
			if uint64(n) >= a[0] && uint64(n) <= a[1] {
				k.close(n)
			}
		}
		return 0, true, nil
	case unix.SYS_CLOSE:
		return k.close(fd), true, nil
	case unix.SYS_FCNTL, unix.SYS_LSEEK, unix.SYS_DUP3, unix.SYS_IOCTL, unix.SYS_EPOLL_CTL, unix.SYS_FSTAT:
		if f == nil {
			return plan.Errno(unix.EBADF), true, nil
		}
	default:
		return 0, false, nil
	}
	switch nr {
	case unix.SYS_FCNTL:
		switch {
		case a[1] == unix.F_GETFD:
			return 0, true, nil
		case a[1] == unix.F_GETFL:
			return f.mode, true, nil
		case f.kind != "pipe":
			return plan.Errno(unix.EBADF), true, nil
		}
		return max(a[2], 65536), true, nil // F_GETPIPE_SZ, F_SETPIPE_SZ
	case unix.SYS_FSTAT:
		b, err := k.bytes(a[1], 144)
		if err == nil {
			binary.LittleEndian.PutUint32(b[24:], map[bool]uint32{true: unix.S_IFREG, false: unix.S_IFIFO}[f.kind == "file"])
		}
		return 0, true, err
	case unix.SYS_LSEEK:
		if !slices.Contains([]string{"file", "disk"}, f.kind) {
			return plan.Errno(unix.ESPIPE), true, nil
		}
		return f.size * (a[2] / unix.SEEK_END), true, nil
	case unix.SYS_DUP3:
		if a[0] == a[1] {
			return plan.Errno(unix.EINVAL), true, nil
		}
		k.close(int(a[1]))
		k.fds[int(a[1])] = f
		return a[1], true, nil
	case unix.SYS_IOCTL:
		return k.ioctl(f, a)
	}
	// epoll_ctl
	n := int(a[2])
	ev, err := make([]byte, 12), error(nil)
	if a[1] != unix.EPOLL_CTL_DEL {
		ev, err = k.bytes(a[3], 12)
	}
	switch _, there := k.watched[n]; {
	case f.kind != "epoll" || err != nil:
		return 0, true, fmt.Errorf("epoll_ctl of %q: %v", f.is, err)
	case k.fds[n] == nil:
		return plan.Errno(unix.EBADF), true, nil
	case slices.Contains([]string{"file", "disk"}, k.fds[n].kind):
		return plan.Errno(unix.EPERM), true, nil
	case a[1] == unix.EPOLL_CTL_DEL && there:
		return 0, true, fmt.Errorf("%q is taken out of an epoll", k.fds[n].is)
	case there && a[1] == unix.EPOLL_CTL_ADD:
		return plan.Errno(unix.EEXIST), true, nil
	case !there && a[1] != unix.EPOLL_CTL_ADD:
		return plan.Errno(unix.ENOENT), true, nil
	}
	k.watched[n] = binary.LittleEndian.Uint64(ev[4:])
	return 0, true, nil
}

func (k *modelKernel) ioctl(f *modelFile, a [6]uint64) (uint64, bool, error) {
	switch a[1] {
	case unix.TCGETS, unix.TIOCGPTN:
		if f.kind == "tty" && a[1] == unix.TCGETS {
			return 0, true, nil
		}
		return plan.Errno(unix.ENOTTY), true, nil
	case 0x5421: // FIONBIO
		f.mode |= unix.O_NONBLOCK
		return 0, true, nil
	case unix.TUNGETIFF:
		b, err := k.bytes(a[2], 40)
		if f.kind == "tap" && err == nil {
			flags := uint16(unix.IFF_TAP)
			if f.plain || !f.filtered { // the same bit
				flags |= unix.IFF_NO_PI
			}
			binary.LittleEndian.PutUint16(b[16:], flags)
			return 0, true, nil
		}
		return plan.Errno(unix.ENOTTY), true, err
	case unix.TUNATTACHFILTER, unix.TUNDETACHFILTER:
		b, err := k.bytes(a[2], 16)
		if err != nil || f.kind != "tap" {
			break
		}
		if a[1] == unix.TUNATTACHFILTER {
			if b, err = k.bytes(binary.LittleEndian.Uint64(b[8:]), 8); err != nil || string(b) != device.PassAll {
				break
			}
		}
		f.filtered = a[1] == unix.TUNATTACHFILTER
		return 0, true, nil
	case unix.TUNSETOFFLOAD:
		f.settled = a[2] == 0
		return 0, true, nil
	case unix.TUNSETTXFILTER, unix.TUNSETFILTEREBPF, unix.TUNSETSTEERINGEBPF, unix.TUNSETSNDBUF, unix.TUNSETCARRIER:
		_, err := k.bytes(a[2], 4)
		return 0, true, err
	case unix.TUNSETQUEUE:
		_, err := k.bytes(a[2], 40)
		return plan.Errno(unix.EINVAL), true, err // it is attached
	case unix.SIOCGIFHWADDR:
		b, err := k.bytes(a[2], 40)
		if err == nil {
			binary.LittleEndian.PutUint16(b[16:], device.EthernetLink)
		}
		return 0, true, err
	case unix.SIOCGIFINDEX:
		if f.kind == "inet" {
			return 0, true, nil
		}
	case unix.TUNSETIFF:
		if b, err := k.bytes(a[2], 40); err == nil && f.kind == "tun" && f.is == "" {
			f.is, f.mode = "tap "+strings.TrimRight(string(b[:16]), "\x00"), f.mode|unix.O_NONBLOCK
			return 0, true, nil
		}
	}
	return 0, true, fmt.Errorf("ioctl %#x of %q", a[1], f.is)
}

func (k *modelKernel) open(a [6]uint64) (uint64, error) {
	path, err := k.text(a[1])
	if err != nil || int64(a[0]) != unix.AT_FDCWD {
		return 0, fmt.Errorf("openat %#x: %v", a, err)
	}
	if path == "/" && k.locked {
		return plan.Errno(unix.EACCES), nil
	}
	if path == "/dev/net/tun" {
		return k.add(modelFile{kind: "tun", mode: a[2] & (unix.O_ACCMODE | unix.O_NONBLOCK)}), nil
	}
	number, proc := strings.CutPrefix(path, "/proc/self/fd/")
	if !proc {
		return k.add(modelFile{is: "disk " + path, kind: "disk", size: modelDiskSize, mode: a[2] & unix.O_ACCMODE}), nil
	}
	n, err := strconv.Atoi(number)
	old := k.fds[n]
	if err != nil || k.noProc || old == nil {
		return plan.Errno(unix.ENOENT), nil
	}
	if a[2]&unix.O_ACCMODE != old.mode&unix.O_ACCMODE || !slices.Contains([]string{"pipe", "tty"}, old.kind) {
		return 0, fmt.Errorf("%q is opened anew with flags %#x", old.is, a[2])
	}
	return k.add(modelFile{is: old.is, kind: old.kind, mode: a[2] & (unix.O_ACCMODE | unix.O_NONBLOCK)}), nil
}

func (k *modelKernel) seccomp(a [6]uint64) (uint64, error) {
	if a[2] == 0 {
		return plan.Errno(unix.EFAULT), nil
	}
	prog, err := k.bytes(a[2], 16)
	if err != nil || a[0] != unix.SECCOMP_SET_MODE_FILTER || a[1] != 0 || !k.nnp {
		return 0, fmt.Errorf("seccomp %#x, no_new_privs %v: %v", a, k.nnp, err)
	}
	k.filter, err = k.bytes(binary.LittleEndian.Uint64(prog[8:]), 8*uint64(binary.LittleEndian.Uint16(prog)))
	return 0, err
}

// memory maps and unmaps. Memory above the guest's is unmapped as a whole.
func (k *modelKernel) memory(nr uint64, a [6]uint64) (uint64, error) {
	memory := uint64(len(k.pages)) * image.PageSize
	switch {
	case nr == plan.Around && a[0] == memory:
		if k.high == isSealed {
			k.high = onlySealed
		}
		return 0, nil
	case nr == unix.SYS_MUNMAP && a[0] == 0 && a[1] == memBase:
		if k.low == isSealed {
			return plan.Errno(unix.EPERM), nil
		}
		k.low = notMapped
		return 0, nil
	case nr == unix.SYS_MUNMAP && a[0] == memory && a[0]+a[1] == taskEnd:
		if k.high == isSealed {
			return plan.Errno(unix.EPERM), nil
		}
		k.high = notMapped
		return 0, nil
	case nr != unix.SYS_MMAP || a[0]%image.PageSize != 0 || a[1]%image.PageSize != 0 || a[0] < memBase || a[0]+a[1] > memory || a[1] == 0 ||
		a[3] != unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED|unix.MAP_NORESERVE:
		return 0, fmt.Errorf("call %d of memory with %#x", nr, a)
	}
	prot := image.Prot(a[2]&unix.PROT_EXEC>>2 | a[2]&unix.PROT_WRITE | a[2]&unix.PROT_READ<<2)
	for at := a[0]; at < a[0]+a[1]; at += image.PageSize {
		k.pages[at/image.PageSize] = modelPage{prot, pageZeroed}
	}
	return a[0], nil
}

// run interprets the plan at planBase. The message is that of a step that failed,
// "" when the guest is entered, with the words of the last record.
func (k *modelKernel) run() (message string, end [6]uint64, err error) {
	le := binary.LittleEndian
	for at, steps := uint64(planBase+48), 0; ; at, steps = at+80, steps+1 {
		r, err := k.bytes(at, 80)
		if err != nil || steps > 10_000 {
			return "", end, fmt.Errorf("step %d: %v", steps, err)
		}
		nr := le.Uint64(r)
		for i := range end {
			end[i] = le.Uint64(r[8+8*i:])
		}
		if nr == ^uint64(0) {
			return "", end, nil
		}
		result, err := k.call(nr, end)
		if err != nil {
			return "", end, fmt.Errorf("step %d: %w", steps, err)
		}
		k.last = result
		if result&le.Uint64(r[56:]) == le.Uint64(r[64:]) {
			continue
		}
		text, n := le.Uint32(r[72:]), le.Uint32(r[76:])
		if text == 0 {
			at += 80 * uint64(n)
			continue
		}
		b, err := k.bytes(uint64(text), uint64(n))
		if err == nil && (!strings.HasPrefix(string(b), "gocat: ") || strings.Count(string(b), "\x00") != 1 || !strings.HasSuffix(string(b), "\n")) {
			err = fmt.Errorf("message %q", b)
		}
		return string(b), end, err
	}
}
