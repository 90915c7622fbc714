package ps

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// devices returns what a process's descriptors lead to, except its console's,
// and whether one is a virtual machine of KVM's that is complete: /dev/kvm
// itself is closed by then.
func devices(dir string) (names []string, machine bool) {
	entries, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return nil, false
	}
	names = []string{}
	begun := false
	var seen []string
	own := ownPipes(dir, entries)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, "fd", e.Name()))
		fd, _ := strconv.Atoi(e.Name())
		if err != nil || fd == 1 || fd == 2 {
			continue
		}
		switch {
		case target != "/dev/net/tun" && slices.Contains(seen, target): // one thing with two descriptors
			continue
		case slices.Contains(own, target):
		case target == "anon_inode:kvm-vm":
			machine = true
		case strings.HasPrefix(target, "anon_inode:"), strings.HasPrefix(target, "/memfd:"), target == "/dev/null":
		case target == "/dev/kvm":
			begun = true
		case target == "/dev/net/tun":
			names = append(names, "tap:"+tap(filepath.Join(dir, "fdinfo", e.Name())))
		case strings.HasPrefix(target, "/"):
			names = append(names, target)
		default:
			kind, _, _ := strings.Cut(target, ":") // pipe:[123], socket:[123]
			names = append(names, kind)
		}
		seen = append(seen, target)
	}
	return names, machine && !begun
}

// ownPipes returns the pipes of which the process has both ends: it is those that a
// tender wakes itself with.
func ownPipes(dir string, entries []os.DirEntry) (own []string) {
	ends := map[string]int{} // 1: reads, 2: writes
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, "fd", e.Name()))
		info, err2 := os.ReadFile(filepath.Join(dir, "fdinfo", e.Name()))
		if err != nil || err2 != nil || !strings.HasPrefix(target, "pipe:") {
			continue
		}
		flags, _ := strconv.ParseUint(field(info, "flags"), 8, 32)
		switch flags & 3 { // O_ACCMODE
		case 0:
			ends[target] |= 1
		case 1:
			ends[target] |= 2
		default:
			ends[target] |= 3
		}
		if ends[target] == 3 {
			own = append(own, target)
		}
	}
	return own
}

// tap returns the name of the interface that a descriptor of /dev/net/tun has.
func tap(fdinfo string) string {
	b, err := os.ReadFile(fdinfo)
	if err != nil {
		return "?"
	}
	return field(b, "iff")
}
