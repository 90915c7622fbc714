package hvt

import (
	"errors"
	"os"

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
	if g.Confine == tender.ConfineNone || !c.Wanted().Has(isolate.UserNS) || isolate.Tried() ||
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
	return spt.Enter(exe, os.Args, os.Environ())
}

// errUserTwice: a namespace without users has none to change to.
var errUserTwice = errors.New("--require=user-ns and --user: an hvt tender can have one of them, its own user namespace has no other user")
