package container

import (
	"os/signal"

	"golang.org/x/sys/unix"

	"gocat/internal/plan"
)

// pause makes the guest a process that waits until a signal asks it to end. A pod's
// sandbox has such a process: it holds the pod's namespaces, and reaps the processes
// of those that have the first of them, which the kernel does where SIGCHLD is
// ignored.
func (g *guest) pause() (err error) {
	signal.Ignore(unix.SIGCHLD)
	p := plan.New()
	p.Status = 1
	ask := plan.Words(1<<(unix.SIGTERM-1) | 1<<(unix.SIGINT-1))
	p.Try(unix.SYS_CLOSE_RANGE, 3, 1<<32-1, 0)
	p.Must("could not block signals", 0, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, ask, 0, 8)
	p.Must("could not make a descriptor for signals", 3, unix.SYS_SIGNALFD4, -1, ask, 8, 0)
	p.Try(unix.SYS_READ, 3, make([]byte, 128), 128)
	p.Try(unix.SYS_EXIT_GROUP, 0)
	g.exe, err = memfdOf(p, "pause")
	g.args = []string{"pause"}
	return err
}
