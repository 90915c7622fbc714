package hvt

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
	"gocat/internal/tender"
	"gocat/spt"
)

// enter starts gocat again in a user namespace, from which it may enter the
// others, where that is wanted and not done. A Go program cannot enter one once
// it runs: it has threads.
func enter(g *tender.Guest) error {
	c := g.Isolation()
	if isolate.Tried() {
		name() // some kernels called the process by the descriptor's number
		return nil
	}
	if g.Confine == tender.ConfineNone || !c.Wanted().Has(isolate.UserNS) ||
		isolate.Privileged() && !c.Require.Has(isolate.UserNS) {
		return nil
	}
	if c.Require.Has(isolate.User) && c.Require.Has(isolate.UserNS) {
		return errUserTwice
	}
	exe, err := unix.Open("/proc/self/exe", unix.O_PATH, 0)
	if err != nil {
		isolate.Failed(unix.ENOENT)
		return nil
	}
	if g.Trace != 0 { // inherited by its number
		if _, err := unix.FcntlInt(uintptr(g.Trace), unix.F_SETFD, 0); err != nil {
			return os.NewSyscallError("fcntl", err)
		}
	}
	return spt.Enter(exe, os.Args, os.Environ())
}

// name names the process after its command.
func name() {
	fd, err := unix.Open("/proc/self/comm", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	unix.Write(fd, []byte(filepath.Base(os.Args[0])))
}

// errUserTwice: a namespace without users has none to change to.
var errUserTwice = errors.New("--require=user-ns and --user: an hvt tender can have one of them, its own user namespace has no other user")
