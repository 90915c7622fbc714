package kvmhvt

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
)

// Config is a guest to run. Its memory is a multiple of 2 MiB, at most 4 GiB, or 1
// GiB for images of ABI version 1. Run uses the descriptors of the devices and
// closes none, and it wipes Args.
type Config struct {
	device.Guest
	Isolate isolate.Config // layers that Confine is not about
	ELF     []byte         // the contents of File, perhaps mapped, to name functions in messages; may be nil

	// Warm, unless nil, is what the guest was when it waited, and what it is started as.
	Warm *Warm

	CPL     int        // privilege level: 3 unless Solo5's own arrangement, 0, is wanted
	EOF     device.EOF // what guests see at the end of a device
	NetRing bool       // offer the network ring (Solo5 0.11) to guests with network devices
	Console int        // descriptor for the guest's output, not 0
	Confine Confine    // how much confinement is required
	Trace   int        // descriptor, a pipe's, to which a Record is written for each event, or NoFD
	Debug   int        // descriptor, a SEQPACKET socket's, over which a debugger controls the guest, or NoFD
	KVM     int        // descriptor of /dev/kvm, which is copied, or NoFD to open it
	Verbose bool       // say on standard error what confines the guest, and at its end what it did

	// Prog is the name before messages; where it is one of Solo5's tenders, a
	// signal that ends the guest is told of as that does, with status 1.
	Prog  string
	Solo5 bool

	Name  string // process name, unless empty, up to a NUL; the kernel keeps 15 bytes
	Title string // the process's command line, unless empty, its words apart by NULs

	// Unblock is a set of signals that come blocked, signal n as bit n-1, and that must
	// not be missed: process 1 loses those that it has no handler for. They are let
	// through when the handlers are there.
	Unblock uint64

	Failure uint8 // exit status when the guest is not started after all; not 0

	// GuestArgs is how many arguments of the process, its last, are the guest's.
	// They and the environment are wiped from its memory before the guest runs.
	GuestArgs int

	// Started, unless nil, is called when everything is in place and no guest
	// instruction has run. The confinement is in effect, and there is no Go
	// runtime. It is for tests.
	Started func()
}

// NoFD is a Config.Trace, Config.Debug or Config.KVM that there is not.
const NoFD = -1

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

// Try builds everything that it takes to run a guest, and releases it again: its
// error is that with which Run would fail.
func Try(c *Config) error {
	t, err := newTender(c)
	if err == nil {
		t.close()
	}
	return err
}

// Run runs a guest until it ends, and the process with it. It returns only on
// error, with nothing started.
//
// The process is one without the Go runtime (package early): it has one thread,
// and from where the guest is loaded there is no way back. What then goes wrong
// is told in one line, and ends the process with status c.Failure, or 1 once the
// guest runs.
func Run(c *Config) error {
	t, err := newTender(c)
	if err != nil {
		return err
	}
	current = t
	t.mapWarm()
	t.catch()
	t.arm()
	t.prepareTrace()
	t.prepareDebug()
	unblock(c.Unblock)
	raw.Forget(c.GuestArgs)
	clear(raw.Bytes(c.Args))
	if c.Name != "" {
		nameProcess(c.Name)
	}
	if c.Title != "" {
		titleProcess(c.Title)
	}
	t.warn()
	t.confine()
	t.confined = true
	t.report()
	if c.Started != nil {
		c.Started()
	}
	t.attend()
	return nil
}

// warn says if there is input that the guest cannot read: bytes in a pipe or socket,
// or the rest of a file, but not what is typed at a terminal. It also says if a disk was
// changed since the guest was stopped.
func (t *tender) warn() {
	line, n, mode := t.config.Unread(), int32(0), [64]byte{}
	if line != "" && raw.Ioctl(0, unix.TIOCINQ, &n) == nil && n > 0 && raw.Ioctl(0, unix.TCGETS, &mode) != nil {
		writeOnce(stderr, raw.Bytes(line))
	}
	if t.config.Warm == nil {
		return
	}
	for i := range t.config.Devices {
		d, st := &t.config.Devices[i], unix.Stat_t{}
		was := t.config.Warm.State.Modified[d.Handle]
		if was != [2]uint64{} && raw.Fstat(d.FD, &st) == nil && was != [2]uint64{uint64(st.Mtim.Sec), uint64(st.Mtim.Nsec)} {
			writeOnce(stderr, raw.Bytes(d.Changed()))
		}
	}
}

// attend runs the guest and ends the process with it. Nothing from here on needs
// the Go runtime, as TestNoRuntime shows of the linked program.
//
//go:noinline
func (t *tender) attend() {
	err := t.checkClock()
	if err == nil {
		err = t.startTrace()
	}
	if err == nil && t.debug != nil {
		_, err = t.stopped(DebugStarted, 0, 0)
	}
	if err == nil {
		err = t.resume()
	}
	if err == nil {
		err = t.serve()
	}
	s, ok := err.(*stop)
	if !ok { // the guest has halted
		lastStop = stop{status: t.services.status}
		s = &lastStop
	}
	t.ended(s.status, s.rip != 0)
	t.finish(s)
}

// finish says how the guest ended, where that was not its own doing, and ends the
// process.
func (t *tender) finish(s *stop) {
	if s.reason != "" && (s.signal == 0 || t.config.Solo5) {
		t.say.n = 0
		t.say.text(t.config.Prog).text(": ").clean(s.reason)
		if s.rip != 0 {
			t.say.symbol(t.config.ELF, s.rip)
		}
		t.flush()
	}
	if t.config.Verbose {
		t.count()
	}
	raw.Exit(s.status)
}

// count says what the guest did.
func (t *tender) count() {
	n := &t.services.stats
	t.say.n = 0
	t.say.text("gocat: ").decimal(n.Hypercalls).text(" hypercalls, ").decimal(n.Polls).text(" of them polls, ").
		decimal(n.Traps).text(" traps, ").decimal(n.Ticks).text(" ticks, ").decimal(n.Exits).text(" exits; ").
		decimal(n.BytesIn).text(" bytes in, ").decimal(n.BytesOut).text(" bytes out")
	t.flush()
}

// flush prints the line in say. There is nobody to tell if that fails.
func (t *tender) flush() {
	t.say.text("\n")
	t.say.b[min(t.say.n, len(t.say.b))-1] = '\n'
	writeOnce(stderr, t.say.b[:t.say.n])
	t.say.n = 0
}

func (c *Config) check() error {
	if err := c.Check(image.HVT); err != nil {
		return err
	}
	switch {
	case c.Image.Version != 1 && c.Image.Version != 2:
		return fmt.Errorf("image wants ABI version %d, which is neither 1 nor 2", c.Image.Version)
	case c.CPL != 0 && c.CPL != 3:
		return fmt.Errorf("privilege level %d: want 3 or 0", c.CPL)
	case c.Console <= 0:
		return fmt.Errorf("descriptor %d is none for the guest's output", c.Console)
	case c.Trace != NoFD && c.Trace <= stderr:
		return fmt.Errorf("descriptor %d is none for a trace", c.Trace)
	case c.Debug != NoFD && c.Debug <= stderr:
		return fmt.Errorf("descriptor %d is none for a debugger", c.Debug)
	case c.Failure == 0:
		return errFailure
	}
	return nil
}

// errFailure: nobody could tell a guest that is not started from one that is well.
var errFailure = errors.New("no exit status is given for a guest that cannot be started")
