package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
)

// prctl makes the call; no layer takes more than four arguments.
func prctl(args ...uintptr) (int, unix.Errno) {
	var a [5]uintptr
	copy(a[:], args)
	r, errno := raw.Call(unix.SYS_PRCTL, a[0], a[1], a[2], a[3], a[4])
	return int(r), errno
}

// enterGroup moves the process into a control group.
func (t *tender) enterGroup() failure {
	why, errno := t.config.Isolate.Group.Enter()
	return failure{why, errno}
}

// errnoOf is the failure of a call of package raw's.
func errnoOf(err error) failure {
	errno, _ := err.(unix.Errno)
	return failure{errno: errno}
}

// changeUser becomes another user, without supplementary groups, and keeps the
// capabilities that the layers take.
func (t *tender) changeUser() failure {
	uid, gid := uintptr(t.config.Isolate.UID), uintptr(t.config.Isolate.GID)
	if _, errno := prctl(unix.PR_SET_KEEPCAPS, 1); errno != 0 {
		return failure{errno: errno}
	}
	if _, errno := raw.Call(unix.SYS_SETGROUPS, 0, 0); errno != 0 {
		return failure{errno: errno}
	}
	if _, errno := raw.Call(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return failure{errno: errno}
	}
	if _, errno := raw.Call(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return failure{errno: errno}
	}
	if now, _ := raw.Call(unix.SYS_GETUID); now != uid {
		return untrue
	}
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SETPCAP
	return failure{errno: capset(needed)}
}

// unshare moves the process into a new namespace, which /proc/self/ns knows by
// name.
func unshare(l isolate.Layer, name string) failure {
	path := raw.Concat("/proc/self/ns/", name)
	var before, after unix.Stat_t
	known := raw.Stat(path, &before) == nil
	if _, errno := raw.Call(unix.SYS_UNSHARE, uintptr(isolate.CloneFlag(l))); errno != 0 {
		return failure{errno: errno}
	}
	if known && raw.Stat(path, &after) == nil && before.Ino == after.Ino {
		return untrue
	}
	return failure{}
}

// emptyRoot makes an empty directory the root: of a file system of its own, for
// which it takes a mount namespace, or else the one in /proc that describes the
// process's descriptors and nothing else.
func (t *tender) emptyRoot() failure {
	if !t.config.Isolate.Wanted().Has(isolate.MountNS) {
		if errno := path(unix.SYS_CHDIR, isolate.EmptyDir); errno != 0 {
			return failure{errno: errno}
		}
		return chrootHere()
	}
	fs, err := raw.Fsopen("tmpfs")
	if err != nil {
		return errnoOf(err)
	}
	if _, errno := raw.Call(unix.SYS_FSCONFIG, uintptr(fs), unix.FSCONFIG_CMD_CREATE, 0, 0, 0); errno != 0 {
		return failure{errno: errno}
	}
	mount, errno := raw.Call(unix.SYS_FSMOUNT, uintptr(fs), unix.FSMOUNT_CLOEXEC, isolate.RootMount)
	if errno != 0 {
		return failure{errno: errno}
	}
	if _, errno := raw.Call(unix.SYS_FCHDIR, mount); errno != 0 {
		return failure{errno: errno}
	}
	raw.Close(int(mount))
	raw.Close(fs)
	return chrootHere()
}

// chrootHere makes the working directory the root.
func chrootHere() failure {
	if errno := path(unix.SYS_CHROOT, "."); errno != 0 {
		return failure{errno: errno}
	}
	var root, here unix.Stat_t
	if raw.Stat("/", &root) != nil || raw.Stat(".", &here) != nil || root.Ino != here.Ino || root.Dev != here.Dev {
		return untrue
	}
	return failure{}
}

// noNewPrivs keeps execve from ever granting privileges.
func noNewPrivs() failure {
	if _, errno := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); errno != 0 {
		return failure{errno: errno}
	}
	if on, _ := prctl(unix.PR_GET_NO_NEW_PRIVS); on != 1 {
		return untrue
	}
	return failure{}
}

// noLandlock means that the kernel has no Landlock.
var noLandlock = failure{text: "not in this kernel"}

// landlock forbids to open anything by path, to connect and to listen. What is
// open stays usable.
func landlock() failure {
	const refused = ": a seccomp filter around gocat, or a security module, refuses it, and --confine=available goes on without"
	fd, _, errno := isolate.Ruleset()
	if errno == unix.ENOSYS || errno == unix.EOPNOTSUPP {
		return noLandlock
	}
	if errno != 0 {
		return failure{"landlock_create_ruleset" + refused, errno}
	}
	if _, errno := raw.Call(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(fd), 0); errno != 0 {
		return failure{"landlock_restrict_self" + refused, errno}
	}
	raw.Close(fd)
	if fd, err := raw.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC); err == nil {
		raw.Close(fd)
		return untrue
	}
	return failure{}
}

// restrictSpeculation turns off control n of prctl(PR_SET_SPECULATION_CTRL).
func restrictSpeculation(n uintptr) failure {
	r, errno := prctl(unix.PR_GET_SPECULATION_CTRL, n)
	if errno == 0 && r == unix.PR_SPEC_NOT_AFFECTED {
		return failure{}
	}
	if _, errno := prctl(unix.PR_SET_SPECULATION_CTRL, n, unix.PR_SPEC_FORCE_DISABLE); errno != 0 {
		return failure{errno: errno}
	}
	if r, _ := prctl(unix.PR_GET_SPECULATION_CTRL, n); r&unix.PR_SPEC_FORCE_DISABLE == 0 {
		return untrue
	}
	return failure{}
}

// dropBoundingSet drops all that the kernel knows.
func dropBoundingSet() failure {
	for n := range uintptr(64) {
		_, errno := prctl(unix.PR_CAPBSET_DROP, n)
		if n > 0 && errno == unix.EINVAL {
			break // the kernel has no more
		}
		if errno != 0 {
			return failure{errno: errno}
		}
	}
	if left, _ := prctl(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN); left != 0 {
		return untrue
	}
	return failure{}
}

// lockSecurebits makes user 0 a user as all others.
func lockSecurebits() failure {
	if _, errno := prctl(unix.PR_SET_SECUREBITS, isolate.SecurebitsLocked); errno != 0 {
		return failure{errno: errno}
	}
	if now, _ := prctl(unix.PR_GET_SECUREBITS); now != isolate.SecurebitsLocked {
		return untrue
	}
	return failure{}
}

// dropCapabilities gives up all capabilities, and with them the ambient ones.
func dropCapabilities() failure {
	if errno := capset(0); errno != 0 {
		return failure{errno: errno}
	}
	effective, permitted, errno := capget()
	if errno != 0 {
		return failure{errno: errno}
	}
	if effective|permitted != 0 {
		return untrue
	}
	return failure{}
}

func undumpable() failure {
	if _, errno := prctl(unix.PR_SET_DUMPABLE, 0); errno != 0 {
		return failure{errno: errno}
	}
	if now, _ := prctl(unix.PR_GET_DUMPABLE); now != 0 {
		return untrue
	}
	return failure{}
}

// limit sets the resource limits: nothing more is mapped, no process is made. The
// kernel holds ppoll(2) to nofile, so one descriptor is allowed. The stack is as
// large as it will be.
func (t *tender) limit() failure {
	growStack()
	t.machine.settle()
	type resource struct {
		number int
		most   uint64
	}
	limits := [...]resource{{unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NPROC, 0}, {unix.RLIMIT_NOFILE, 1}, {unix.RLIMIT_AS, 0}, {unix.RLIMIT_FSIZE, 0}}
	n := len(limits)
	if size, ok := t.fileSize(); ok {
		limits[n-1].most = size
	} else {
		n--
	}
	for _, l := range limits[:n] {
		if errno := setLimit(l.number, l.most, l.most); errno != 0 {
			return failure{errno: errno}
		}
		if now, most := getLimit(l.number); now != l.most || most != l.most {
			return untrue
		}
	}
	return failure{}
}

// fileSize is how large files may become: as the largest block device, unless
// other files are written.
func (t *tender) fileSize() (largest uint64, known bool) {
	for _, fd := range [...]int{stdout, stderr, t.services.console.fd} {
		if !limitable(fd) {
			return 0, false
		}
	}
	for i := range t.config.Devices {
		d := &t.config.Devices[i]
		if d.Type == image.Block {
			largest = max(largest, d.Capacity)
		} else if !limitable(d.FD) {
			return 0, false
		}
	}
	return largest, true
}

// limitable reports whether a descriptor is that of no regular file.
func limitable(fd int) bool {
	var st unix.Stat_t
	return raw.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG
}
