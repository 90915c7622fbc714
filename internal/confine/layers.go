package confine

import (
	"fmt"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
)

// Undumpable keeps processes of the same user from looking into this one.
func Undumpable() error { return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }

// Filter installs a filter in all threads that kills the process for every
// system call except the named ones.
func Filter(calls []string) error {
	return seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionKillProcess,
			Syscalls:      []seccomp.SyscallGroup{{Names: calls, Action: seccomp.ActionAllow}},
		},
	})
}

// Confirm asks the kernel whether NoNewPrivs, Capabilities, Undumpable and Filter
// hold: something around the process may only have said so. The calls are prctl and
// capget, which the filter has to allow.
func Confirm() error {
	for _, want := range []struct {
		layer  isolate.Layer
		option int
		value  int
	}{
		{isolate.NoNewPrivs, unix.PR_GET_NO_NEW_PRIVS, 1},
		{isolate.Undumpable, unix.PR_GET_DUMPABLE, 0},
		{isolate.Seccomp, unix.PR_GET_SECCOMP, unix.SECCOMP_MODE_FILTER},
	} {
		if got, err := unix.PrctlRetInt(want.option, 0, 0, 0, 0); err != nil || got != want.value {
			return fmt.Errorf("%v: the kernel says %d, not %d: %v", want.layer, got, want.value, err)
		}
	}
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return err
	}
	if data != [2]unix.CapUserData{} {
		return fmt.Errorf("%v: the kernel says that there are some left", isolate.Capabilities)
	}
	return nil
}
