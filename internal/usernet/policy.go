package usernet

import "strings"

// The system calls of the process that serves a network, by what makes them. They
// have no conditions on arguments. None opens a file, executes a program, or reaches
// another process.
const (
	// The Go runtime: memory, threads, timers, its poller, its own signals.
	runtimeCalls = `
		brk clock_gettime clock_nanosleep clone close epoll_create1 epoll_ctl epoll_pwait
		eventfd2 exit exit_group futex getpid getrandom gettid madvise mmap mprotect
		munmap nanosleep prctl read restart_syscall rseq rt_sigaction rt_sigprocmask
		rt_sigreturn sched_getaffinity sched_yield set_robust_list sigaltstack tgkill
		timer_create timer_delete timer_settime uname write`
	// Frames, published ports, and those who join. capget says that no capability
	// is left.
	networkCalls = `
		accept4 capget fcntl getpeername getsockname getsockopt ppoll recvfrom recvmsg
		sendmsg sendto setsockopt shutdown`
	// Connections, datagrams and pings to the outside, and DNS.
	outboundCalls = `
		connect socket`
)

// Isolated reports whether the process that serves the network never makes a
// socket: its guests may connect to nothing outside, and no others can join.
func (c *Config) Isolated() bool { return c.Outbound.None() && c.Network == "" }

// Calls lists the system calls that are left to the process that serves the
// network, by name; any other kills it.
func (c *Config) Calls() []string {
	names := strings.Fields(runtimeCalls + networkCalls)
	if !c.Isolated() {
		names = append(names, strings.Fields(outboundCalls)...)
	}
	return names
}
