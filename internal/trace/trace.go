package trace

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
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
			return 0, fmt.Errorf("--setup: only an spt guest begins with system calls; %s is built for hvt", g.Name)
		}
		source = newHVT(s, g, o)
	} else {
		// Before anything else is opened, which an inherited descriptor that is not
		// there could be taken for.
		spt, set, err := newSPT(s, g, o)
		if err != nil {
			return 0, err
		}
		defer set.Close()
		source = spt
	}
	out, err := o.open()
	if err != nil {
		return 0, err
	}
	s.forward()
	printed := make(chan error)
	go func() {
		err := newPrinter(out, o).run(s.events, s.kill)
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
	return os.OpenFile(o.Output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
}

// supervisor is what both sources share: the process of the guest, and where its
// events go.
type supervisor struct {
	name    string
	events  chan Event
	process atomic.Int32 // a pidfd of the guest's process, 0 before there is one
	signals chan os.Signal
	zero    time.Time
}

// started tells that the guest starts.
func (s *supervisor) started(zero time.Time) {
	s.zero = zero
	s.events <- Event{Kind: Started}
}

// guest takes the guest's process, so that signals reach it from now on.
func (s *supervisor) guest(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone already
	}
	s.process.Store(int32(fd))
	go func() {
		var first time.Time
		for sig := range s.signals {
			number := sig.(syscall.Signal)
			switch {
			case first.IsZero():
				first = time.Now()
			case time.Since(first) > patience:
				os.Exit(128 + int(number)) // the guest is killed with this process
			}
			unix.PidfdSendSignal(fd, number, nil, 0)
		}
	}()
}

// kill kills the guest.
func (s *supervisor) kill() {
	if fd := s.process.Load(); fd != 0 {
		unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0)
	}
}

// patience is how long after a signal another one does not mean that the first
// was of no use: timeout(1) sends two at once.
const patience = time.Second

// forward keeps the signals that ask a process to end for the guest, unless they
// are ignored. A later one ends this process, whoever does not take the trace.
func (s *supervisor) forward() {
	s.signals = make(chan os.Signal, 4)
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT} {
		if !signal.Ignored(sig) {
			signal.Notify(s.signals, sig)
		}
	}
}

// end tells how the guest ended and returns the exit status.
func (s *supervisor) end(ws unix.WaitStatus) int {
	e := Event{Kind: Ended, Bytes: -1, Time: time.Since(s.zero), Status: ws.ExitStatus()}
	e.Result = "exited with status " + strconv.Itoa(e.Status)
	if ws.Signaled() {
		e.Status = 128 + int(ws.Signal())
		e.Result = "killed by " + unix.SignalName(ws.Signal()) + ", status " + strconv.Itoa(e.Status)
	}
	s.events <- e
	return e.Status
}
