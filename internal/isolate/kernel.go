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

// SecurebitsLocked is the argument of PR_SET_SECUREBITS by which user 0 is a
// user as all others, for good: SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP and
// SECBIT_NO_CAP_AMBIENT_RAISE, and the locks of all (linux/securebits.h).
const SecurebitsLocked = 0xef

// EmptyDir is the root directory of a process that has no mount namespace of
// its own. It describes the descriptors that the process has open.
const EmptyDir = "/proc/self/fdinfo"

// RootMount are the attributes of an empty root's mount.
const RootMount = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// LandlockVersion is the latest version of Landlock that LandlockRules knows.
// What version 10 adds, UDP, is left: a guest's device may be such a socket.
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
