package trace

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/output"
	"gocat/internal/supervise"
	"gocat/internal/tender"
)

// Options is how a guest is traced.
type Options struct {
	Args    []string // the command line that the guest was loaded for, for the tender's process
	Output  string   // file to write to; "" is standard error, "-" standard output
	JSON    bool
	Summary bool // only count calls
	Setup   bool // spt: show what gocat's own code calls before the guest
}

// ErrNoSetup means that Options.Setup asks for what an hvt guest does not have.
var ErrNoSetup = errors.New("only an spt guest begins with system calls, and this one is built for hvt")

// Run runs the guest and shows what it does. It returns the guest's exit status,
// 128 more than the number of a signal that ended it. The calling thread is
// locked for good: the guest is killed when it ends.
func Run(g *tender.Guest, o Options) (status int, err error) {
	runtime.LockOSThread()
	s := &supervisor{name: g.Name, events: make(chan Event, 1024)}
	var source interface {
		run() (unix.WaitStatus, error)
	}
	if g.Image.Target == image.HVT {
		if o.Setup {
			return 0, ErrNoSetup
		}
		source = newHVT(s, g, o)
	} else {
		// Before anything else is opened, which an inherited descriptor that is not
		// there could be taken for.
		spt, set, err := newSPT(s, g, o)
		if err != nil {
			return 0, g.Mend(err)
		}
		defer set.Close()
		source = spt
	}
	out, err := o.open()
	if err != nil {
		return 0, err
	}
	s.Forward()
	printed := make(chan error)
	go func() {
		err := newPrinter(out, o).run(s.events, s.Kill)
		if out != os.Stderr && out != os.Stdout {
			if closed := out.Close(); err == nil {
				err = closed
			}
		}
		printed <- err
	}()
	ws, err := source.run()
	if err == nil {
		status = s.end(ws)
	}
	close(s.events)
	if failed := <-printed; err == nil && failed != nil {
		err = fmt.Errorf("could not write the trace, so the guest was stopped: %w", failed)
	}
	return status, err
}

func (o *Options) open() (*os.File, error) {
	switch o.Output {
	case "":
		return os.Stderr, nil
	case "-":
		return os.Stdout, nil
	}
	return output.Stream(o.Output)
}

// supervisor is what both sources share: the process of the guest, and where its
// events go.
type supervisor struct {
	supervise.Process
	name   string
	events chan Event
	zero   time.Time
}

// started tells that the guest starts.
func (s *supervisor) started(zero time.Time) {
	s.zero = zero
	s.events <- Event{Kind: Started}
}

// end tells how the guest ended and returns the exit status.
func (s *supervisor) end(ws unix.WaitStatus) int {
	e := Event{Kind: Ended, Bytes: -1, Time: time.Since(s.zero), Status: supervise.Status(ws)}
	e.Result = "exited with status " + strconv.Itoa(e.Status)
	if ws.Signaled() {
		e.Result = "killed by " + unix.SignalName(ws.Signal()) + ", status " + strconv.Itoa(e.Status)
	}
	s.events <- e
	return e.Status
}
