package kvmhvt

import (
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notify asks for the signals that end the guest and sends the channel on which
// they come, while the caller does something else. Signals that the process was
// started with ignored stay so.
func (c *Config) notify() <-chan chan os.Signal {
	ready := make(chan chan os.Signal, 1)
	if c.NoSignals {
		ready <- nil
		return ready
	}
	go func() {
		signals := make(chan os.Signal, 1)
		var wanted []os.Signal
		for _, s := range endings {
			if !signal.Ignored(s) {
				wanted = append(wanted, s)
			}
		}
		if wanted != nil { // none would mean all
			signal.Notify(signals, wanted...)
		}
		ready <- signals
	}()
	return ready
}

// endings are the signals whose default action is to end the process and that
// come from outside only. Without a handler the Go runtime ignores some of them
// and prints its stacks for others.
var endings = [...]unix.Signal{
	unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGABRT,
	unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGXCPU,
}

// signalExit is the exit because of a signal.
func signalExit(sig os.Signal) Exit {
	number, _ := sig.(unix.Signal)
	return Exit{Status: 1, Signal: int(number), Reason: "Exiting on signal " + strconv.Itoa(int(number))}
}

// patience is how long an interrupt waits for the guest's thread to notice it.
// The thread may sit in a write that nobody takes.
const patience = 200 * time.Millisecond

// interrupt makes the guest's thread leave it and returns why, or how the guest
// ended if it was faster. When the thread does not leave in time, nothing is
// released: the process is about to exit. The same holds for a ring's thread.
func (t *tender) interrupt(why Exit) Exit {
	t.ending.Store(true)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		t.machine.requestExit()
		if tid := t.thread.Load(); tid != 0 {
			// SIGURG is the Go runtime's own for preemption, and harmless.
			unix.Tgkill(unix.Getpid(), int(tid), unix.SIGURG)
		}
		select {
		case last := <-t.ended:
			if t.ring == nil || t.ring.ended.Load() {
				t.close()
			}
			if last.Reason != errEnding.Error() {
				return last
			}
			why.Counters = last.Counters
			return why
		default:
			// Not time.Sleep: the first timer makes the runtime's poller, with
			// system calls that the policy does not grant.
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
		}
	}
	return why
}
