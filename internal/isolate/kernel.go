package isolate

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// CloneFlag returns the flag of unshare(2) for a namespace, 0 for other layers.
func CloneFlag(l Layer) int {
	switch l {
	case UserNS:
		return unix.CLONE_NEWUSER
	case MountNS:
		return unix.CLONE_NEWNS
	case NetNS:
		return unix.CLONE_NEWNET
	case IPCNS:
		return unix.CLONE_NEWIPC
	case UTSNS:
		return unix.CLONE_NEWUTS
	case CgroupNS:
		return unix.CLONE_NEWCGROUP
	}
	return 0
}

// NamespaceFile returns the name of a namespace's file in /proc/self/ns.
func NamespaceFile(l Layer) string {
	switch l {
	case UserNS:
		return "user"
	case MountNS:
		return "mnt"
	case NetNS:
		return "net"
	case IPCNS:
		return "ipc"
	case UTSNS:
		return "uts"
	case CgroupNS:
		return "cgroup"
	}
	return ""
}

// SecurebitsLocked is the argument of PR_SET_SECUREBITS by which user 0
// permanently becomes a user like all others: SECBIT_NOROOT,
// SECBIT_NO_SETUID_FIXUP and SECBIT_NO_CAP_AMBIENT_RAISE, and the locks of all
// (linux/securebits.h).
const SecurebitsLocked = 0xef

// EmptyDir is the root directory of a process that has no mount namespace of
// its own. It describes the descriptors that the process has open.
const EmptyDir = "/proc/self/fdinfo"

// RootMount are the attributes of an empty root's mount.
const RootMount = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// LandlockVersion is the latest version of Landlock that LandlockRules knows.
// It leaves out UDP, which version 10 adds: a guest's device may be such a
// socket.
const LandlockVersion = 9

// LandlockRules returns a struct landlock_ruleset_attr with everything that a
// version of Landlock can forbid, of the size that the version knows. Signals are
// optional: a Go program's threads need them, and each gets a domain of its own.
func LandlockRules(version int, signals bool) []byte {
	fs := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1)
	if version >= 2 {
		fs |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		fs |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if version >= 5 {
		fs |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	if version >= 9 {
		fs |= unix.LANDLOCK_ACCESS_FS_RESOLVE_UNIX
	}
	rules := binary.LittleEndian.AppendUint64(raw.Slice[byte](0, 24), fs)
	if version >= 4 {
		rules = binary.LittleEndian.AppendUint64(rules, unix.LANDLOCK_ACCESS_NET_BIND_TCP|unix.LANDLOCK_ACCESS_NET_CONNECT_TCP)
	}
	if version >= 6 {
		scoped := uint64(unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
		if signals {
			scoped |= unix.LANDLOCK_SCOPE_SIGNAL
		}
		rules = binary.LittleEndian.AppendUint64(rules, scoped)
	}
	return rules
}

// Ruleset makes a ruleset of the latest version of Landlock that the kernel knows
// and takes, and returns its descriptor, close-on-exec, and the version. Some
// answer with a version and refuse what it has: then it is that of an earlier one.
// The error is ENOSYS or EOPNOTSUPP where there is no Landlock.
func Ruleset() (fd, version int, errno unix.Errno) {
	latest, errno := raw.Call(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return -1, 0, errno
	}
	for version = min(int(latest), LandlockVersion); version >= 1; version-- {
		var err error
		if fd, err = raw.LandlockRuleset(LandlockRules(version, true)); err == nil {
			return fd, version, 0
		}
		if errno, _ = err.(unix.Errno); errno != unix.EINVAL && errno != unix.E2BIG {
			break
		}
	}
	return -1, 0, errno
}
