package kvmhvt

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"runtime/debug"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
)

// Config is a guest to run.
type Config struct {
	Image    *image.Image    // parsed from File; its target is image.HVT
	Manifest image.Manifest  // the image's, as attached: MACs, MTUs, capacities
	File     io.ReaderAt     // the image's contents, read once before the guest starts
	ELF      []byte          // the same, perhaps mapped, to name functions in messages; may be nil
	Memory   uint64          // guest memory in bytes, a multiple of 2 MiB, at most 4 GiB (1 GiB for images of ABI 1)
	Devices  []device.Device // attached; Run uses their descriptors and closes none
	Args     string          // guest command line, at most MaxArgs bytes, without NUL

	CPL       int            // privilege level: 3 unless Solo5's own arrangement, 0, is wanted
	EOF       device.EOF     // what guests see at the end of a device
	NetRing   bool           // offer the network ring (Solo5 0.11) to guests with network devices
	Console   int            // descriptor for the guest's output; 0 means 1, standard output
	Confine   Confine        // how much confinement is required
	Isolate   isolate.Config // layers that Confine is not about
	NoSignals bool           // leave the signals that end a process to the caller
	Trace     int            // descriptor, a pipe's, to which a Record is written for each event; 0: none

	// Started, unless nil, is called when everything is in place and no guest
	// instruction has run. It must not call on the kernel for more than to write
	// on descriptors 1 and 2, which is all that the confinement leaves.
	Started func(Confinement, Timer)
}

// Exit is how a guest ended.
type Exit struct {
	Status   int    // exit status for the tender: the guest's own, 1 when the tender ended it
	Signal   int    // the signal that ended the guest, or 0; SIGPIPE when nobody reads its output (Status is then 141)
	Reason   string // one line that says why the tender ended it; empty when the guest exited
	Counters Counters
}

// Counters count what a guest did.
type Counters struct {
	Exits      uint64 // times the guest was left, for any reason
	Hypercalls uint64
	Polls      uint64 // hypercalls that wait
	Traps      uint64 // exceptions, emulated instructions among them
	Ticks      uint64 // interrupts by the timer
	BytesIn    uint64 // from devices to the guest
	BytesOut   uint64 // from the guest to devices and the console
}

// Run runs a guest until it ends. An error means that it was not started.
//
// Run confines the process as c.Confine says, with all its threads and for
// good: afterwards nothing can be opened, and a forbidden system call kills the
// process. Before, the process must not have used the os package on pipes or
// sockets in ways that wait. The garbage collector does not start by itself,
// so that nothing has to wait for the thread in the guest.
//
// SIGINT, SIGTERM and the other signals that ask a process to end do so at once,
// unless they are ignored when Run is called: Status is then 1 and Signal says
// which.
func Run(c *Config) (Exit, error) {
	signals := c.notify()
	t, err := newTender(c)
	if err != nil {
		return Exit{}, err
	}
	t.signals = <-signals
	// The threads of the guest and of the ring each hold a place of the
	// scheduler; a signal needs one more.
	places := 2
	if t.ring != nil {
		places = 3
	}
	if runtime.GOMAXPROCS(0) < places {
		runtime.GOMAXPROCS(places)
	}
	debug.SetGCPercent(-1)
	if os.Getenv("GOMEMLIMIT") != "" { // it would start the collector all the same
		debug.SetMemoryLimit(math.MaxInt64)
	}
	t.startThread()
	done, err := t.confine(c.Confine)
	if err != nil {
		close(t.enter)
		t.close()
		return Exit{}, err
	}
	if c.Started != nil {
		c.Started(done, t.timer)
	}
	if err := t.trace(); err != nil {
		close(t.enter)
		return exitFor(err), nil
	}
	return t.run(), nil
}

// startThread starts the guest's thread, whose timer must be armed before the
// confinement. It waits for t.enter, and sends how the guest ended.
func (t *tender) startThread() {
	t.enter, t.ended = make(chan struct{}), make(chan Exit, 1)
	armed := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		// A goroutine that ends with its thread locked ends the thread, with a
		// system call that the policy does not grant.
		defer runtime.UnlockOSThread()
		t.arm()
		close(armed)
		if _, ok := <-t.enter; ok {
			t.ended <- t.loop()
		}
	}()
	<-armed
}

// run lets the guest run and waits for its end or a signal.
func (t *tender) run() Exit {
	ring := make(chan error, 1)
	if t.ring != nil {
		t.startRing(ring)
	}
	t.enter <- struct{}{}
	select {
	case e := <-t.ended:
		return t.finish(e, ring)
	case err := <-ring: // before it is stopped it only ends on errors
		return t.interrupt(exitFor(err))
	case sig := <-t.signals:
		return t.interrupt(signalExit(sig))
	}
}

// finish lets the ring send what the guest has given to it, and releases
// everything.
func (t *tender) finish(e Exit, ring <-chan error) Exit {
	if t.ring != nil {
		t.ring.stop()
		select {
		case err := <-ring:
			if err != nil {
				e = exitFor(err)
			}
		case sig := <-t.signals:
			t.ending.Store(true)
			return signalExit(sig)
		}
	}
	t.close()
	return e
}

// errConfig is for what no caller should get wrong.
var errConfig = errors.New("kvmhvt: no image or file given")

func (c *Config) check() error {
	switch {
	case c.Image == nil || c.File == nil:
		return errConfig
	case c.Image.Target != image.HVT:
		return fmt.Errorf("image is for the target %v, not hvt", c.Image.Target)
	case c.Image.Version != 1 && c.Image.Version != 2:
		return fmt.Errorf("image wants ABI version %d, which is neither 1 nor 2", c.Image.Version)
	case c.CPL != 0 && c.CPL != 3:
		return fmt.Errorf("privilege level %d: give 3 or 0", c.CPL)
	}
	return nil
}

// console is the descriptor for the guest's output.
func (c *Config) console() int {
	if c.Console == 0 {
		return 1
	}
	return c.Console
}
