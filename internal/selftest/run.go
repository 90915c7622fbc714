package selftest

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Run tries all attacks with the gocat program at path, as many at the same time
// as there are processors, and calls each with the outcome of one, in no
// particular order. It stops early, with an error, when the first attack of a
// setting is not stopped: then nothing protects this host from the others. Should
// this process be killed, everything that it started and made goes with it.
func Run(path string, attacks []*Attack, each func(Result)) error {
	// Processes that a guest leaves become this process's children.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := noCores(); err != nil {
		return err
	}
	var failed error
	first, rest := firsts(attacks)
	err := try(path, first, func(r Result) {
		each(r)
		if r.Err != nil {
			failed = fmt.Errorf("%v: the first guest did not end as it should, so no other was tried: %s, %s: %w", r.Setting, r.Group, r.Name, r.Err)
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if err := try(path, rest, each); err != nil {
		return err
	}
	return childless()
}

// noCores keeps this process's children, most of which are going to be killed,
// from dumping core. The kernel gives programs that take cores those of processes
// with a limit of 0, but none with a limit of 1 (core(5)).
func noCores() error {
	limit := uint64(0)
	if pattern, err := os.ReadFile("/proc/sys/kernel/core_pattern"); err == nil && len(pattern) > 0 && pattern[0] == '|' {
		limit = 1
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &old); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	limit = min(limit, old.Max)
	return os.NewSyscallError("setrlimit", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: limit, Max: old.Max}))
}

// firsts takes the first attack of each setting out of all.
func firsts(all []*Attack) (first, rest []*Attack) {
	var seen [settings]bool
	for _, a := range all {
		if seen[a.Setting] {
			rest = append(rest, a)
		} else {
			first = append(first, a)
		}
		seen[a.Setting] = true
	}
	return first, rest
}

// childless is an error if this process has children: all that it started has
// ended and been waited for, so they are a guest's.
func childless() error {
	pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil)
	if err == unix.ECHILD {
		return nil
	}
	if pid == 0 {
		return errors.New("a guest has left a process that still runs")
	}
	return fmt.Errorf("a guest has left process %d", pid)
}

// try tries all attacks.
func try(path string, attacks []*Attack, each func(Result)) error {
	work, done, quit := make(chan *Attack), make(chan Result), make(chan struct{})
	ended := make(chan error)
	workers := min(runtime.NumCPU(), len(attacks))
	for range workers {
		go func() { ended <- worker(path, work, done) }()
	}
	go func() {
		defer close(work)
		for _, a := range attacks {
			select {
			case work <- a:
			case <-quit:
				return
			}
		}
	}()
	var failed error
	for workers > 0 {
		select {
		case r := <-done:
			each(r)
		case err := <-ended:
			workers--
			if err != nil && failed == nil {
				failed = err
				close(quit)
			}
		}
	}
	return failed
}

// worker tries the attacks from work, one after the other.
func worker(path string, work <-chan *Attack, done chan<- Result) error {
	// A process dies with the thread that started it.
	runtime.LockOSThread()
	g, err := newGiven()
	defer func() { g.close() }()
	if err != nil {
		return err
	}
	for a := range work {
		r := a.attack(path, g)
		done <- r
		if r.Err == nil {
			continue
		}
		g.close() // the next one must not be blamed
		if g, err = newGiven(); err != nil {
			return err
		}
	}
	return nil
}
