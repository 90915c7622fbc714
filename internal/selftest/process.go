package selftest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/tender"
)

// attackTimeout is how long an attack may take, and endlessFor how long one that
// never ends goes on before it is told to.
const (
	attackTimeout = 20 * time.Second
	endlessFor    = 30 * time.Millisecond
)

// begun is what a guest prints that goes on for ever, when it begins to.
const begun = "begun\n"

// ending is how a run of gocat ended.
type ending struct {
	status         int // as a shell shows it
	stdout, stderr string
	timedOut       bool
	during         error // of what was looked at while an endless guest ran
}

// run has gocat run the attack's guest. The caller's goroutine is locked to a
// thread, with which gocat would be killed.
func (a *Attack) run(gocat string, g *given) (*ending, error) {
	image, err := a.image()
	if err != nil {
		return nil, err
	}
	if err := g.prepare(image); err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	memory := a.memory
	if memory == 0 {
		memory = guestMemory
	}
	args := append([]string{gocat, "run", "--mem=" + strconv.FormatUint(memory, 10)}, a.Setting.options()...)
	args = append(append(args, a.options...), devices(a.Setting)...)
	args = append(args, "--", "/proc/self/fd/"+strconv.Itoa(fdImage))
	if a.personality != 0 {
		defer personality(a.personality)()
	}
	p, err := os.StartProcess(gocat, args, &os.ProcAttr{
		Files: g.files(null), Env: []string{secret},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, // with this program
	})
	if err != nil {
		return nil, err
	}
	e := &ending{}
	stuck := time.AfterFunc(attackTimeout, func() { p.Kill() })
	if a.endless {
		e.during = a.stop(p, g)
	}
	state, err := p.Wait()
	if err != nil {
		return nil, err
	}
	e.timedOut = !stuck.Stop()
	if s := state.Sys().(syscall.WaitStatus); s.Signaled() {
		e.status = 128 + int(s.Signal())
	} else {
		e.status = s.ExitStatus()
	}
	e.stdout, e.stderr = g.output()
	return e, nil
}

// stop waits until an endless guest has begun, looks at it and tells it to end.
func (a *Attack) stop(p *os.Process, g *given) error {
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if info, err := g.stdout.Stat(); err != nil || info.Size() > 0 {
			break
		}
		if time.Since(start) > attackTimeout/2 {
			p.Kill()
			return fmt.Errorf("did not begin within %v", attackTimeout/2)
		}
	}
	time.Sleep(endlessFor)
	var err error
	if a.look != nil {
		err = a.look(p.Pid)
	}
	p.Signal(unix.SIGTERM)
	return err
}

// Flags of a personality (linux/personality.h).
const (
	addrNoRandomize  = 0x0040000 // stack, vdso and mappings where they always are
	readImpliesExec  = 0x0400000 // what is mapped to be read can be executed
	addrCompatLayout = 0x0200000 // mappings from the bottom up
)

// personality gives this thread's children a personality, and returns what takes
// it back.
func personality(flags uintptr) (restore func()) {
	old, _, _ := unix.RawSyscall(unix.SYS_PERSONALITY, 0xffffffff, 0, 0)
	unix.RawSyscall(unix.SYS_PERSONALITY, old|flags, 0, 0)
	return func() { unix.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0) }
}

// attack runs the attack and judges it.
func (a *Attack) attack(gocat string, g *given) (r Result) {
	r.Attack = a
	run := func() (*ending, error) { return a.run(gocat, g) }
	if a.answered != 0 {
		run = func() (*ending, error) {
			return filtered(a.answered, func() (*ending, error) { return a.run(gocat, g) })
		}
	}
	e, err := run()
	if err != nil {
		r.Err = fmt.Errorf("could not try: %w", err)
		return r
	}
	r.Outcome, r.Err = a.outcome(e)
	if r.Err != nil && e.status == tender.NotStarted && e.stdout == "" && strings.Count(e.stderr, "\n") == 1 {
		r.NotStarted = true
	}
	if r.Err == nil {
		r.Err = e.during
	}
	if r.Err == nil && a.check != nil {
		r.Err = a.check(e)
	}
	if err := g.untouched(); err != nil {
		r.Err = err
	}
	return r
}
