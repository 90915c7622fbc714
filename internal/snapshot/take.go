// Package snapshot boots a guest, stops it where it waits for input, and records its
// state, so that other guests can start from there.
package snapshot

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/device"
	"gocat/internal/isolate"
	"gocat/internal/ptrace"
	"gocat/internal/supervise"
	"gocat/spt"
)

// When says where a guest is stopped: at the first wait for which nothing is ready, or
// where it asks for it itself. Text and After postpone that to a later wait, whatever
// that waits for.
type When struct {
	Text   string        // until it has printed a line with this
	After  time.Duration // until so long after its start
	Asked  bool          // until it asks
	Anyway bool          // also when a device has input that the guest has not read
	Once   bool          // what is taken starts a single time
}

// Ended says that the guest ended before it could be stopped.
type Ended struct {
	Status  int
	Started bool // else its executable has printed what was wrong
}

func (e *Ended) Error() string {
	return fmt.Sprintf("the guest ended with status %d before it waited for input: it has to find its devices open and without input, such as a pipe that nobody writes to", e.Status)
}

// Take boots the guest of c, confined as Seal's executable is, with its console on
// standard error, and calls use with its state when it is stopped. Reading the
// memory is for use alone: the guest ends afterwards.
func (when When) Take(c *spt.Config, use func(*spt.Warm) error) error {
	runtime.LockOSThread() // the thread that traces
	defer runtime.UnlockOSThread()
	own := *c
	own.Isolate = visible(c.Isolate)
	e, err := spt.NewSealed(&own)
	if err != nil {
		return err
	}
	b := &boot{config: c, when: when, executable: e, console: lines{text: when.Text}}
	b.pid, err = supervise.StartWith([]uintptr{0, 2, 2}, "/proc/self/fd/"+strconv.Itoa(e.FD), []string{c.Name}, []string{device.BootVariable + "=1"}, true)
	unix.Close(e.FD)
	if err != nil {
		return err
	}
	defer b.kill()
	if err := b.run(); err != nil {
		return err
	}
	w, err := b.take()
	if err != nil {
		return err
	}
	w.Once = when.Once
	return use(w)
}

// visible is c without the layer by which only root may look at the guest.
func visible(c isolate.Config) isolate.Config {
	c.Traced = true
	if c.Must(isolate.Undumpable) {
		c.Require = c.Wanted() &^ isolate.Of(isolate.Undumpable)
		c.Mode = isolate.None
	}
	return c
}

// boot is the guest's process, which the calling thread traces.
type boot struct {
	config     *spt.Config
	when       When
	executable spt.Executable
	pid        int
	gone       bool

	filtered, running bool // gocat's own code has come to its filter; to the guest
	started           time.Time
	call              ptrace.SyscallInfo // that the process is in, at its entry
	console           lines
	alarm             [4]uint64 // what the timer is set to
	clock             [2]uint64 // the latest monotonic time that the guest has read
}

// run runs the guest up to the call in which it is stopped.
func (b *boot) run() error {
	ws, err := b.wait()
	if err != nil || !ws.Stopped() {
		return b.ended(ws, err)
	}
	if err := unix.PtraceSetOptions(b.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
		return fmt.Errorf("could not trace the guest's process: %w", err)
	}
	for sig := 0; ; {
		unix.PtraceSyscall(b.pid, sig) // it fails when the process was killed meanwhile, which wait tells
		ws, err := b.wait()
		if err != nil || !ws.Stopped() {
			return b.ended(ws, err)
		}
		sig = 0
		if ws.StopSignal() != unix.SIGTRAP|0x80 {
			if _, err := ptrace.Signal(b.pid); err == nil { // else a stop by a signal that was delivered
				sig = int(ws.StopSignal())
			}
			continue
		}
		if here, err := b.syscall(); here || err != nil {
			return err
		}
	}
}

func (b *boot) wait() (ws unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(b.pid, &ws, unix.WALL, nil); err != unix.EINTR {
			b.gone = err == nil && !ws.Stopped()
			return ws, err
		}
	}
}

func (b *boot) ended(ws unix.WaitStatus, err error) error {
	if err != nil {
		return fmt.Errorf("wait for the guest: %w", err)
	}
	return &Ended{supervise.Status(ws), b.running}
}

// kill ends the guest, unless it has.
func (b *boot) kill() {
	for !b.gone {
		unix.Kill(b.pid, unix.SIGKILL)
		if _, err := b.wait(); err != nil {
			return
		}
	}
}

// syscall looks at the beginning or end of a call, and says whether to stop the
// guest there.
func (b *boot) syscall() (here bool, err error) {
	i, err := ptrace.CallInfo(b.pid)
	if err != nil {
		return false, nil // it was killed
	}
	if i.Op == ptrace.Entry {
		b.call = i
		if !b.running {
			return false, nil
		}
		return b.entry()
	}
	nr, failed := b.call.Words[0], byte(i.Words[1]) != 0
	switch {
	case !b.running:
		// The filter, and a question that it answers, are the last before the guest.
		b.running, b.started = b.filtered, time.Now()
		b.filtered = b.filtered || nr == unix.SYS_SECCOMP && i.Words[0] == 0 && !failed
	case !failed:
		b.exit(nr, b.call.Words[1:], i.Words[0])
	}
	return false, nil
}

// exit notes what a call of the guest's that has not failed did.
func (b *boot) exit(nr uint64, args []uint64, result uint64) {
	switch nr {
	case unix.SYS_WRITE:
		const most = 64 << 10 // of a line
		if args[0] == 1 && b.when.Text != "" && !b.console.printed && result > 0 && result <= most {
			b.console.print(ptrace.Read(b.pid, args[1], int(result)))
		}
	case unix.SYS_TIMERFD_SETTIME:
		words(b.alarm[:], ptrace.Read(b.pid, args[2], 32))
	case unix.SYS_CLOCK_GETTIME:
		if args[0] == unix.CLOCK_MONOTONIC {
			words(b.clock[:], ptrace.Read(b.pid, args[1], 16))
		}
	}
}

// entry says whether to stop the guest at the call that begins.
func (b *boot) entry() (here bool, err error) {
	args := b.call.Words[1:]
	asks, waits := false, false
	generation := b.config.Image.Generation
	switch nr, fd := b.call.Words[0], int(args[0]); {
	case nr == unix.SYS_EPOLL_PWAIT && fd == b.executable.Epoll:
		asks = generation != 0 && args[1] == generation+abi.GenerationRequest
		waits = int32(args[3]) != 0
	case nr == unix.SYS_READ && generation == 0: // its timer would not end such a wait
		waits, err = b.blocks(fd)
		if err != nil {
			return false, err
		}
	}
	w := &b.when
	if !asks && (!waits || w.Asked || w.Text != "" && !b.console.printed || time.Since(b.started) < w.After) {
		return false, nil
	}
	input, alarm, err := b.ready()
	switch {
	case err != nil:
		return false, err
	case input != "" && w.Anyway:
		return true, nil
	case input != "" && (asks || w.Text != "" || w.After != 0):
		return false, unread(input)
	}
	return asks || input == "" && !alarm, nil
}

// copy returns a copy of a descriptor of the process's, which the caller closes.
func (b *boot) copy(fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(b.pid, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	own, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return -1, fmt.Errorf("could not look at what the guest waits for: %w", err)
	}
	return own, nil
}

// blocks says whether reading a device's descriptor waits for input: one that could not
// be opened again, because it is another user's, does.
func (b *boot) blocks(fd int) (bool, error) {
	if !slices.ContainsFunc(b.executable.Devices, func(d device.Device) bool { return d.FD == fd }) {
		return false, nil
	}
	own, err := b.copy(fd)
	if err != nil {
		return false, err
	}
	defer unix.Close(own)
	flags, err := unix.FcntlInt(uintptr(own), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		return false, err
	}
	poll := []unix.PollFd{{Fd: int32(own), Events: unix.POLLIN}}
	n, err := unix.Poll(poll, 0)
	return n == 0, err
}

// ready says for which network device there is input, and whether the timer has gone
// off.
func (b *boot) ready() (input string, alarm bool, err error) {
	epoll, err := b.copy(b.executable.Epoll)
	if err != nil {
		return "", false, err
	}
	defer unix.Close(epoll)
	events := make([]unix.EpollEvent, abi.MaxEntries+1)
	n, err := unix.EpollWait(epoll, events, 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return "", false, err
	}
	for _, e := range events[:max(n, 0)] {
		data := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if data == b.executable.TimerData {
			alarm = true
			continue
		}
		for _, d := range b.executable.Devices {
			if uint64(d.Handle) == data {
				input = d.Name
			}
		}
	}
	return input, alarm, nil
}
