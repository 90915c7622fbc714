package isolate

import (
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Host is what explains why a layer is not in effect on a host. The zero value
// is an unknown host.
type Host struct {
	Known    bool
	Filtered bool // a seccomp filter was inherited
	NoClone  bool // kernel.unprivileged_userns_clone is 0
	NoUserNS bool // user.max_user_namespaces is 0
	AppArmor bool // kernel.apparmor_restrict_unprivileged_userns is 1
	NoProc   bool // /proc is not mounted
	Landlock int  // the version of Landlock, 0 if unknown
}

// ThisHost looks at the host and at what the process inherited. Root is where
// /proc is, "" but in tests.
func ThisHost(root string) Host {
	h := Host{Known: true}
	status := ReadFile(raw.Concat(root, "/proc/self/status"))
	h.NoProc = status == ""
	if _, rest, found := strings.Cut(status, "\nSeccomp:\t"); found {
		h.Filtered = !strings.HasPrefix(rest, "0")
	}
	if !h.Filtered { // the filter might kill for the question
		if fd, version, errno := Ruleset(); errno == 0 {
			raw.Close(fd)
			h.Landlock = version
		}
	}
	h.NoClone = ReadFile(raw.Concat(root, "/proc/sys/kernel/unprivileged_userns_clone")) == "0\n"
	h.NoUserNS = ReadFile(raw.Concat(root, "/proc/sys/user/max_user_namespaces")) == "0\n"
	h.AppArmor = ReadFile(raw.Concat(root, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns")) == "1\n"
	return h
}

// Answered is the reason why a layer is not in effect although the call that sets
// it up succeeded.
const Answered = "a seccomp filter or a tracer around gocat answers in the kernel's place"

// On says that l is in effect and, for Landlock, what the kernel's version
// leaves out.
func (h Host) On(l Layer) string {
	if l != Landlock || h.Landlock == 0 || h.Landlock >= LandlockVersion {
		return "on"
	}
	without := raw.Slice[string](0, 4)
	for _, later := range [...]struct {
		version int
		what    string
	}{{3, "truncating files"}, {4, "TCP ports"}, {6, "abstract sockets and signals"}, {9, "named sockets"}} {
		if h.Landlock < later.version {
			without = append(without, later.what)
		}
	}
	return raw.Concat("on, as version ", raw.Decimal(uint64(h.Landlock)), " has it: not for ", raw.Join(without, ", "))
}

// ReadFile returns the beginning of a small file, "" if it cannot be read. Package
// os would start the Go runtime's poller, which a tender does not need.
func ReadFile(path string) string {
	fd, err := raw.Open(path, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	defer raw.Close(fd)
	b := raw.Slice[byte](4096, 4096)
	n, err := raw.Read(fd, b)
	if err != nil {
		return ""
	}
	return raw.String(b[:n])
}

// Errors lists the error numbers for which Reason has words.
func Errors() []unix.Errno {
	return []unix.Errno{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EINVAL, unix.ENOSPC, unix.EUSERS, unix.EOPNOTSUPP,
		unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.ERANGE, unix.ENOMEM, unix.EBUSY, unix.EROFS, unix.ENOTDIR}
}

// Reason says why setting up l failed with e.
func (h Host) Reason(l Layer, e unix.Errno) string {
	if l == Cgroup {
		return h.group(e)
	}
	switch e {
	case unix.EPERM, unix.EACCES:
		return h.forbidden(l)
	case unix.ENOSYS:
		if h.Filtered {
			return "the seccomp filter that gocat inherited, or the kernel, does not know the call (ENOSYS)"
		}
		return "not in this kernel (ENOSYS)"
	case unix.EINVAL:
		if UserNS <= l && l <= CgroupNS {
			return "not in this kernel (EINVAL)"
		}
	case unix.ENOSPC, unix.EUSERS:
		if l == UserNS && h.NoUserNS {
			return "user.max_user_namespaces is 0"
		}
		return "a limit of /proc/sys/user is reached (ENOSPC)"
	case unix.EOPNOTSUPP:
		if l == Landlock {
			return "this kernel was booted without it: lsm= lacks landlock"
		}
	case unix.ENOENT:
		if UserNS <= l && l <= Root {
			return "/proc is not mounted"
		}
	case unix.ENODEV, unix.ENXIO, unix.ERANGE:
		if l == StoreBypass || l == IndirectBranch {
			return "this processor or kernel does not let a process control it"
		}
	case unix.ENOMEM:
		return "the kernel is out of memory"
	}
	return raw.Concat("error ", raw.Decimal(uint64(e)))
}

// group says why a control group could not be entered.
func (h Host) group(e unix.Errno) string {
	switch e {
	case unix.ENOENT:
		return "there is no such control group of version 2, or it has no controller for a limit"
	case unix.EPERM, unix.EACCES:
		return "the control group is not delegated to this user"
	case unix.EROFS:
		return "the control groups are mounted read-only"
	case unix.ENOTDIR:
		return notGroup
	case unix.EBUSY, unix.EOPNOTSUPP:
		return "the control group can have no processes: it has groups below it with controllers, or is threaded"
	case unix.ENODEV:
		return "the control group was removed"
	case unix.ENOMEM:
		return "the kernel is out of memory"
	}
	return raw.Concat("error ", raw.Decimal(uint64(e)))
}

// forbidden says why l was not permitted.
func (h Host) forbidden(l Layer) string {
	suspects := ""
	if h.Filtered {
		suspects = "; or the seccomp filter that gocat inherited forbids it"
	}
	switch l {
	case UserNS:
		switch {
		case h.NoClone:
			return raw.Concat("kernel.unprivileged_userns_clone is 0", suspects)
		case h.Filtered:
			return "the seccomp filter that gocat inherited forbids it, or gocat runs in a chroot"
		case h.Known:
			return "not permitted: gocat runs in a chroot, or a security module forbids it"
		}
		return "not permitted: kernel.unprivileged_userns_clone, a seccomp filter, a security module or a chroot forbids it"
	case MountNS, NetNS, IPCNS, UTSNS, CgroupNS, Root, BoundingSet, Securebits:
		needs := "CAP_SYS_ADMIN"
		switch l {
		case Root:
			needs = "CAP_SYS_CHROOT, or CAP_SYS_ADMIN for mount-ns,"
		case BoundingSet, Securebits:
			needs = "CAP_SETPCAP"
		}
		if h.AppArmor {
			return raw.Concat("it takes ", needs, " and kernel.apparmor_restrict_unprivileged_userns is 1, so user namespaces have none", suspects)
		}
		return raw.Concat("it takes ", needs, " or a user namespace", suspects)
	case User:
		return raw.Concat("it takes CAP_SETUID and CAP_SETGID", suspects)
	case StoreBypass, IndirectBranch:
		return "this host does not let a process control it"
	case Capabilities, Landlock, Undumpable, Limits:
		if h.Filtered {
			return "the seccomp filter that gocat inherited forbids it"
		}
	}
	return raw.Concat("not permitted (EPERM)", suspects)
}
