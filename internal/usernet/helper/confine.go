package helper

import (
	"errors"
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	"gocat/internal/confine"
	"gocat/internal/isolate"
	"gocat/internal/usernet"
)

// confineSelf gives up, in all threads and for good, what serving a network does not
// take. It returns a line for each layer, as the kernel says that it is. Only what
// a host may lack, namespaces, the empty root and Landlock, may fail. Together says
// why there are no namespaces, if so; untried are layers to leave out.
func confineSelf(c *usernet.Config, together string, untried isolate.Set) (lines []string, err error) {
	host := isolate.ThisHost("")
	say := func(l isolate.Layer, err error) {
		state := host.On(l)
		if err != nil {
			state = "off: " + err.Error()
		}
		lines = append(lines, l.String()+": "+state)
	}
	say(isolate.UserNS, inNamespace(together))
	killed := errors.New("the seccomp filter that gocat inherited kills for it")
	rootErr := error(nil)
	if untried.Has(isolate.Root) {
		rootErr = killed
	} else if err := unix.Chroot("/proc/self/fdinfo"); err != nil { // a directory with nothing to open, and no room for files
		rootErr = reason(host, isolate.Root, err)
	} else if err := unix.Chdir("/"); err != nil {
		return nil, fmt.Errorf("gocat-net: empty root: %w", err)
	}
	say(isolate.Root, rootErr)
	for _, l := range []struct {
		layer isolate.Layer
		do    func() error
	}{
		{isolate.NoNewPrivs, confine.NoNewPrivs},
		{isolate.Capabilities, confine.Capabilities},
		{isolate.Undumpable, confine.Undumpable},
		{isolate.Limits, limit},
	} {
		if err := l.do(); err != nil {
			return nil, fmt.Errorf("gocat-net: %v: %w", l.layer, err)
		}
		say(l.layer, nil)
	}
	if untried.Has(isolate.Landlock) {
		say(isolate.Landlock, killed)
	} else {
		if host.Filtered { // ThisHost did not ask
			if fd, version, errno := isolate.Ruleset(); errno == 0 {
				unix.Close(fd)
				host.Landlock = version
			}
		}
		say(isolate.Landlock, restrict(c, host))
	}
	calls := c.Calls()
	if err := confine.Filter(calls); err != nil {
		return nil, fmt.Errorf("gocat-net: seccomp: %w", err)
	}
	if err := confine.Confirm(); err != nil {
		return nil, fmt.Errorf("gocat-net: %w", err)
	}
	lines = append(lines, fmt.Sprintf("seccomp: on: %d system calls", len(calls)))
	return lines, nil
}

// inNamespace is an error unless the process has a user namespace of its own, with
// the reason: in one of its own it is process 1.
func inNamespace(together string) error {
	switch {
	case together != "":
		return errors.New(together)
	case unix.Getpid() != 1:
		return errors.New("none was made")
	}
	return nil
}

func reason(h isolate.Host, l isolate.Layer, err error) error {
	if errno, ok := err.(unix.Errno); ok {
		return fmt.Errorf("%s", h.Reason(l, errno))
	}
	return err
}

// limit sets resource limits: no core file, no file written, no locked memory. One
// on processes would count the user's others too, and the runtime's threads.
func limit() error {
	for _, r := range []int{unix.RLIMIT_CORE, unix.RLIMIT_FSIZE, unix.RLIMIT_MEMLOCK} {
		if err := unix.Setrlimit(r, &unix.Rlimit{}); err != nil {
			return err
		}
	}
	return nil
}

// restrict applies Landlock: no file, no TCP port listened on, no abstract socket
// and no process outside; and, where the guest may connect to nothing, no TCP port
// connected to.
func restrict(c *usernet.Config, h isolate.Host) error {
	if h.Landlock == 0 {
		return reason(h, isolate.Landlock, unix.ENOSYS)
	}
	const bindTCP, connectTCP = 1, 2 // linux/landlock.h, LANDLOCK_ACCESS_NET_*
	l := landlock.V9
	l.HandledAccessNet = bindTCP
	if c.Isolated() {
		l.HandledAccessNet |= connectTCP
	}
	return l.BestEffort().Restrict()
}
