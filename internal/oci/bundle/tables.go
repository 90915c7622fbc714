package bundle

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Namespaces are the namespaces that a container may have, by the flag of clone(2).
var Namespaces = map[specs.LinuxNamespaceType]uintptr{
	specs.PIDNamespace:     unix.CLONE_NEWPID,
	specs.NetworkNamespace: unix.CLONE_NEWNET,
	specs.MountNamespace:   unix.CLONE_NEWNS,
	specs.IPCNamespace:     unix.CLONE_NEWIPC,
	specs.UTSNamespace:     unix.CLONE_NEWUTS,
	specs.UserNamespace:    unix.CLONE_NEWUSER,
	specs.CgroupNamespace:  unix.CLONE_NEWCGROUP,
}

// Rlimits are the limits of setrlimit(2) by name.
var Rlimits = map[string]int{
	"RLIMIT_AS": unix.RLIMIT_AS, "RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_CPU": unix.RLIMIT_CPU,
	"RLIMIT_DATA": unix.RLIMIT_DATA, "RLIMIT_FSIZE": unix.RLIMIT_FSIZE, "RLIMIT_LOCKS": unix.RLIMIT_LOCKS,
	"RLIMIT_MEMLOCK": unix.RLIMIT_MEMLOCK, "RLIMIT_MSGQUEUE": unix.RLIMIT_MSGQUEUE, "RLIMIT_NICE": unix.RLIMIT_NICE,
	"RLIMIT_NOFILE": unix.RLIMIT_NOFILE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_RSS": unix.RLIMIT_RSS,
	"RLIMIT_RTPRIO": unix.RLIMIT_RTPRIO, "RLIMIT_RTTIME": unix.RLIMIT_RTTIME,
	"RLIMIT_SIGPENDING": unix.RLIMIT_SIGPENDING, "RLIMIT_STACK": unix.RLIMIT_STACK,
}

// propagations of mounts, by the flag of mount(2).
var propagations = map[string]uintptr{
	"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
	"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
	"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
	"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
}

// Propagation returns the flag for a propagation by name; 0 if there is none.
func Propagation(name string) uintptr { return propagations[name] }

// NoSymFollow is linux/mount.h's MS_NOSYMFOLLOW.
const NoSymFollow = 256

// flags of mount(2) by option: what it sets and what it clears.
var flags = map[string]struct{ set, clear uintptr }{
	"ro": {unix.MS_RDONLY, 0}, "rw": {0, unix.MS_RDONLY},
	"nosuid": {unix.MS_NOSUID, 0}, "suid": {0, unix.MS_NOSUID},
	"nodev": {unix.MS_NODEV, 0}, "dev": {0, unix.MS_NODEV},
	"noexec": {unix.MS_NOEXEC, 0}, "exec": {0, unix.MS_NOEXEC},
	"sync": {unix.MS_SYNCHRONOUS, 0}, "async": {0, unix.MS_SYNCHRONOUS},
	"dirsync": {unix.MS_DIRSYNC, 0}, "remount": {unix.MS_REMOUNT, 0},
	"mand": {unix.MS_MANDLOCK, 0}, "nomand": {0, unix.MS_MANDLOCK},
	"noatime": {unix.MS_NOATIME, 0}, "atime": {0, unix.MS_NOATIME},
	"nodiratime": {unix.MS_NODIRATIME, 0}, "diratime": {0, unix.MS_NODIRATIME},
	"relatime": {unix.MS_RELATIME, 0}, "norelatime": {0, unix.MS_RELATIME},
	"strictatime": {unix.MS_STRICTATIME, 0}, "nostrictatime": {0, unix.MS_STRICTATIME},
	"iversion": {unix.MS_I_VERSION, 0}, "noiversion": {0, unix.MS_I_VERSION},
	"silent": {unix.MS_SILENT, 0}, "loud": {0, unix.MS_SILENT},
	"nosymfollow": {NoSymFollow, 0}, "symfollow": {0, NoSymFollow},
	"bind": {unix.MS_BIND, 0}, "rbind": {unix.MS_BIND | unix.MS_REC, 0},
	"defaults": {0, 0}, "acl": {unix.MS_POSIXACL, 0}, "noacl": {0, unix.MS_POSIXACL},
	// A guest sees no file, so what is copied up to a new tmpfs is copied for nobody.
	"tmpcopyup": {0, 0},
}

// recursive attributes of mount_setattr(2) by option: what it sets and clears.
var recursive = map[string]unix.MountAttr{
	"rro": {Attr_set: unix.MOUNT_ATTR_RDONLY}, "rrw": {Attr_clr: unix.MOUNT_ATTR_RDONLY},
	"rnosuid": {Attr_set: unix.MOUNT_ATTR_NOSUID}, "rsuid": {Attr_clr: unix.MOUNT_ATTR_NOSUID},
	"rnodev": {Attr_set: unix.MOUNT_ATTR_NODEV}, "rdev": {Attr_clr: unix.MOUNT_ATTR_NODEV},
	"rnoexec": {Attr_set: unix.MOUNT_ATTR_NOEXEC}, "rexec": {Attr_clr: unix.MOUNT_ATTR_NOEXEC},
	"rnosymfollow": {Attr_set: unix.MOUNT_ATTR_NOSYMFOLLOW}, "rsymfollow": {Attr_clr: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"rnodiratime": {Attr_set: unix.MOUNT_ATTR_NODIRATIME}, "rdiratime": {Attr_clr: unix.MOUNT_ATTR_NODIRATIME},
	"rnoatime":     {Attr_set: unix.MOUNT_ATTR_NOATIME, Attr_clr: unix.MOUNT_ATTR__ATIME},
	"rrelatime":    {Attr_set: unix.MOUNT_ATTR_RELATIME, Attr_clr: unix.MOUNT_ATTR__ATIME},
	"rstrictatime": {Attr_set: unix.MOUNT_ATTR_STRICTATIME, Attr_clr: unix.MOUNT_ATTR__ATIME},
}

// Flags are the options of a mount as the kernel takes them.
type Flags struct {
	Flags       uintptr          // of mount(2)
	Clear       uintptr          // those that an option clears
	Propagation []uintptr        // each with a mount(2) of its own
	Recursive   []unix.MountAttr // each with a mount_setattr(2) of its own
	Data        string           // what the file system is told
}

// MountFlags sorts the options of a mount.
func MountFlags(options []string) (f Flags, err error) {
	var data []string
	for _, o := range options {
		if v, ok := flags[o]; ok {
			f.Flags = f.Flags&^v.clear | v.set
			f.Clear = f.Clear&^v.set | v.clear
		} else if p, ok := propagations[o]; ok {
			f.Propagation = append(f.Propagation, p)
		} else if r, ok := recursive[o]; ok {
			f.Recursive = append(f.Recursive, r)
		} else if o == "idmap" || o == "ridmap" {
			return f, fmt.Errorf("option %s is not supported", o)
		} else {
			data = append(data, o)
		}
	}
	f.Data = strings.Join(data, ",")
	if len(f.Data) >= 4096 { // the kernel takes a page
		return f, fmt.Errorf("options of %d bytes: at most 4095 are possible", len(f.Data))
	}
	return f, nil
}

// MountOptions lists the options of mounts that are not passed to the file system.
func MountOptions() []string {
	names := slices.Concat(slices.Collect(maps.Keys(flags)), slices.Collect(maps.Keys(propagations)), slices.Collect(maps.Keys(recursive)))
	slices.Sort(names)
	return names
}
