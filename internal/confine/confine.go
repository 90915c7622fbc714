// Package confine confines those processes of gocat that have a Go runtime: the
// helpers beside guests. Guests and tenders have their own policies.
//
// A helper's filter is a list of names without conditions on arguments, which
// go-seccomp-bpf assembles correctly (docs/upstream-go-seccomp-bpf.md).
package confine

import (
	"fmt"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlocksys "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"gocat/internal/isolate"
)

// Helper is what a helper process keeps. The zero value keeps what the Go runtime
// needs to go on with descriptors that are open.
type Helper struct {
	Calls  []string // system calls by name, besides those of the runtime
	Write  []string // directories in which files may be made, written and removed
	Remove []string // directories in which files may be removed
}

// runtimeCalls are the system calls that a Go program makes whatever it does: memory,
// threads, signals, clocks and the network poller's waiting. With prctl and capget it
// reads back what is in effect.
var runtimeCalls = []string{
	"capget", "clock_gettime", "clock_nanosleep", "clone", "close", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2", "exit",
	"exit_group", "fcntl", "futex", "getpid", "getrandom", "gettid", "madvise", "mincore", "mmap", "mprotect", "munmap",
	"nanosleep", "prctl", "read", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
	"sched_yield", "sigaltstack", "tgkill", "write",
}

// Confine confines the process, all its threads, for good: no new privileges, no
// capabilities, Landlock, not dumpable, and a filter that kills for any other system
// call. An error means that a layer is missing; those before it hold.
func (h Helper) Confine() error {
	for _, l := range []struct {
		layer isolate.Layer
		do    func() error
	}{
		{isolate.NoNewPrivs, NoNewPrivs},
		{isolate.Undumpable, Undumpable},
		{isolate.Landlock, h.landlock},
		{isolate.Capabilities, Capabilities},
		{isolate.Seccomp, func() error {
			return Filter(slices.Compact(slices.Sorted(slices.Values(slices.Concat(runtimeCalls, h.Calls)))))
		}},
	} {
		if err := l.do(); err != nil {
			return fmt.Errorf("%v: %w", l.layer, err)
		}
	}
	return Confirm()
}

// landlock forbids the file system except for h.Write, and TCP ports. A kernel
// without Landlock, or with an early one, gives what it has. Signals stay allowed:
// the guest is not in the same domain.
func (h Helper) landlock() error {
	var rules []landlock.Rule
	if len(h.Write) > 0 {
		rules = append(rules, landlock.RWDirs(h.Write...))
	}
	if len(h.Remove) > 0 {
		rules = append(rules, landlock.PathAccess(landlocksys.AccessFSRemoveFile, h.Remove...))
	}
	return landlock.V5.BestEffort().Restrict(rules...)
}
