package kvmhvt

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/isolate"
)

// step is how a layer is set up.
type step struct {
	layer isolate.Layer
	do    func() error
}

// isolation lists the layers that take capabilities or /proc. A program with
// threads cannot enter a user namespace: the caller of Run may be in one.
func (t *tender) isolation() []step {
	namespace := func(l isolate.Layer, name string) step {
		return step{l, func() error { return enterNamespace(isolate.CloneFlag(l), name) }}
	}
	c := &t.config.Isolate
	steps := []step{
		{isolate.Cgroup, func() error { return enterGroup(&c.Group) }},
		{isolate.UserNS, inUserNamespace},
		{isolate.MountNS, func() error { return allThreads(unix.SYS_UNSHARE, unix.CLONE_NEWNS, 0, 0) }},
		namespace(isolate.NetNS, "net"),
		namespace(isolate.IPCNS, "ipc"),
		namespace(isolate.UTSNS, "uts"),
		namespace(isolate.CgroupNS, "cgroup"),
		{isolate.Root, func() error { return emptyRoot(c.Wanted().Has(isolate.MountNS)) }},
		{isolate.BoundingSet, dropBoundingSet},
		{isolate.Securebits, func() error {
			return allThreads(unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, isolate.SecurebitsLocked, 0)
		}},
		{isolate.User, func() error { return changeUser(int(c.UID), int(c.GID)) }},
	}
	for n, l := range []isolate.Layer{isolate.StoreBypass, isolate.IndirectBranch} {
		steps = append(steps, step{l, func() error { return restrictSpeculation(uintptr(n)) }})
	}
	t.size = addressSpace() // while there is /proc
	return steps
}

// must reports whether the guest is not to be started without l. A process that
// can make the other namespaces by itself needs no user namespace for them.
func (t *tender) must(l isolate.Layer) bool {
	c := &t.config.Isolate
	return c.Must(l) && (l != isolate.UserNS || c.Require.Has(l) || !isolate.Privileged())
}

// inUserNamespace checks that the process is in a user namespace without users,
// as Enter makes it.
func inUserNamespace() error {
	if isolate.Entered() {
		return nil
	}
	if isolate.Privileged() {
		return errors.New("the tender is privileged and makes the other namespaces without; --require=user-ns asks for one")
	}
	return isolate.EnterError()
}

// enterGroup moves the process into a control group.
func enterGroup(g *isolate.Group) error {
	for _, w := range g.Writes() {
		fd, err := unix.Open(w[0], unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		_, err = unix.Write(fd, []byte(w[1]))
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}

// enterNamespace moves all threads into a new namespace.
func enterNamespace(flag int, name string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(flag); err != nil {
		return err
	}
	fd, err := unix.Open("/proc/thread-self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.New("/proc is not mounted")
	}
	defer unix.Close(fd)
	return allThreads(unix.SYS_SETNS, uintptr(fd), uintptr(flag), 0)
}

// emptyRoot makes an empty directory the root of all threads. With a mount
// namespace each thread has a root of its own.
func emptyRoot(mountNS bool) error {
	if !mountNS {
		if err := unix.Chdir(isolate.EmptyDir); err != nil {
			return err
		}
		return unix.Chroot(".")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, isolate.RootMount)
	if err != nil {
		return err
	}
	defer unix.Close(mount)
	if err := allThreads(unix.SYS_FCHDIR, uintptr(mount), 0, 0); err != nil {
		return err
	}
	return chrootHere()
}

// dropBoundingSet drops all that the kernel knows.
func dropBoundingSet() error {
	for n := range uintptr(64) {
		err := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n, 0)
		if n > 0 && errors.Is(err, unix.EINVAL) {
			return nil // the kernel has no more
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// changeUser becomes another user, without supplementary groups. Package
// syscall does so in all threads.
func changeUser(uid, gid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return err
	}
	return syscall.Setresuid(uid, uid, uid)
}

// restrictSpeculation turns off control n of prctl(PR_SET_SPECULATION_CTRL).
func restrictSpeculation(n uintptr) error {
	r, err := unix.PrctlRetInt(unix.PR_GET_SPECULATION_CTRL, n, 0, 0, 0)
	if err == nil && r == unix.PR_SPEC_NOT_AFFECTED {
		return nil
	}
	return allThreads(unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, n, unix.PR_SPEC_FORCE_DISABLE)
}

// growth is how much address space a tender may map while its guest runs: the Go
// runtime takes 64 MiB at once.
const growth = 256 << 20

// limit sets the resource limits. nproc is not among them, for the Go runtime
// starts threads; poll(2) takes one descriptor to be allowed.
func (t *tender) limit() error {
	if t.size == 0 {
		return errors.New("/proc is not mounted, so the address space to allow is unknown")
	}
	limits := []struct {
		resource int
		n        uint64
	}{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 1}, {unix.RLIMIT_AS, t.size + growth}}
	if n, ok := t.fileSize(); ok {
		limits = append(limits, struct {
			resource int
			n        uint64
		}{unix.RLIMIT_FSIZE, n})
	}
	for _, l := range limits {
		if err := unix.Prlimit(0, l.resource, &unix.Rlimit{Cur: l.n, Max: l.n}, nil); err != nil {
			return err
		}
	}
	return nil
}

// limitCPU sets the processor time after which the process gets SIGXCPU.
func (t *tender) limitCPU() error {
	s := t.config.Isolate.CPUTime
	if s == 0 {
		return nil
	}
	return os.NewSyscallError("prlimit", unix.Prlimit(0, unix.RLIMIT_CPU, &unix.Rlimit{Cur: s, Max: s + 1}, nil))
}

// fileSize is how large files may become: as the largest block device, unless
// other files are written.
func (t *tender) fileSize() (largest uint64, known bool) {
	written := []int{1, 2, t.services.console.fd}
	for i := range t.config.Devices {
		if d := &t.config.Devices[i]; d.Type == image.Block {
			largest = max(largest, d.Capacity)
		} else {
			written = append(written, d.FD)
		}
	}
	for _, fd := range written {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT == unix.S_IFREG {
			return 0, false
		}
	}
	return largest, true
}

// dieWithParent makes the kernel kill a tender that is supervised, by gocat
// trace, with its supervisor. The supervisor asked for that; entering a user
// namespace and changing the user undo it.
func (t *tender) dieWithParent() error {
	if t.config.Trace == 0 {
		return nil
	}
	return allThreads(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
}

// addressSpace returns how many bytes are mapped, 0 if unknown.
func addressSpace() uint64 {
	first, _, _ := strings.Cut(isolate.ReadFile("/proc/self/statm"), " ")
	pages, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
