package container

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
)

// capabilityNames are capabilities(7), in the order of their numbers.
var capabilityNames = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL
CAP_SETGID CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN
CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT
CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE
CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM
CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

// grant takes from the sets of a process what it cannot have, and returns the names: the
// specification has a runtime warn, and not fail.
func grant(s *specs.Spec) (missing []string) {
	c := s.Process.Capabilities
	if c == nil {
		return nil
	}
	permitted, bounding := own()
	if bundle.Has(s, specs.UserNamespace) { // where it has all
		permitted = 1<<len(capabilityNames) - 1
		bounding = permitted
	}
	for _, set := range []struct {
		names *[]string
		have  uint64
	}{{&c.Bounding, bounding}, {&c.Permitted, permitted}, {&c.Effective, permitted}, {&c.Inheritable, permitted}, {&c.Ambient, permitted}} {
		*set.names = slices.DeleteFunc(slices.Clone(*set.names), func(name string) bool {
			n := slices.Index(capabilityNames, name)
			if n >= 0 && set.have>>n&1 != 0 {
				return false
			}
			if !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
			return true
		})
	}
	return missing
}

// own are the capabilities that the runtime can give: those it has, and those of its
// bounding set.
func own() (permitted, bounding uint64) {
	var data [2]unix.CapUserData
	if unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]) == nil {
		permitted = uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	}
	for n := range capabilityNames {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(n), 0, 0, 0); err == nil && has == 1 {
			bounding |= 1 << n
		}
	}
	return permitted, bounding
}

// capabilities returns a set as the kernel has it.
func capabilities(names []string) (set uint64) {
	for _, name := range names {
		if n := slices.Index(capabilityNames, name); n >= 0 {
			set |= 1 << n
		}
	}
	return set
}

// CapabilityNames lists the capabilities that are known.
func CapabilityNames() []string { return slices.Clone(capabilityNames) }
