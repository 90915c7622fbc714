package trace

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/ptrace"
	"gocat/internal/supervise"
	"gocat/internal/tender"
	"gocat/spt"
)

// sptSource runs an spt guest in a process of its own under ptrace. It is the
// same executable that gocat run becomes, with the same plan and filter: ptrace
// looks on, and the kernel consults the filter after it.
type sptSource struct {
	*supervisor
	spt.Executable
	symbols symbols
	setup   bool // what comes before the guest's first instruction is shown
	pid     int
	running bool // the guest's first instruction has been reached
	// filtered says that the filter is in force.
	filtered bool
	call     entry // the call that the process is in, if inside
	inside   bool
}

// entry is a call that began.
type entry struct {
	ptrace.SyscallInfo
	began Event
	start time.Time
}

// newSPT attaches the guest's devices, which the caller closes.
func newSPT(s *supervisor, g *tender.Guest, o Options) (*sptSource, *device.Set, error) {
	set, err := device.Attach(g.Image.Manifest, &g.Devices)
	if err != nil {
		return nil, nil, err
	}
	c, err := g.SPT(set)
	if err != nil {
		set.Close()
		return nil, nil, err
	}
	c.Isolate.Traced = true
	e, err := spt.NewExecutable(c)
	if err != nil {
		set.Close()
		return nil, nil, err
	}
	return &sptSource{supervisor: s, Executable: e, symbols: symbols{file: g.File}, setup: o.Setup}, set, nil
}

// run runs the guest and returns how it ended.
func (s *sptSource) run() (ws unix.WaitStatus, err error) {
	s.pid, err = supervise.Start("/proc/self/fd/"+strconv.Itoa(s.FD), []string{s.name}, nil, true)
	unix.Close(s.FD)
	if err != nil {
		return 0, err
	}
	s.Adopt(s.pid)
	if ws, err = s.wait(); err != nil || !ws.Stopped() {
		return ws, err
	}
	// From here on a tracer that dies takes the guest with it.
	err = unix.PtraceSetOptions(s.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL)
	if err != nil {
		unix.Kill(s.pid, unix.SIGKILL)
		return 0, fmt.Errorf("could not trace the guest's process: %w", err)
	}
	s.zero = time.Now()
	for sig := 0; ; {
		// It fails when the process was killed meanwhile, which wait tells.
		unix.PtraceSyscall(s.pid, sig)
		if ws, err = s.wait(); err != nil || !ws.Stopped() {
			break
		}
		sig = 0
		if ws.StopSignal() == unix.SIGTRAP|0x80 {
			s.syscall()
		} else {
			sig = s.signal(ws.StopSignal())
		}
	}
	if ws.Signaled() && ws.Signal() == unix.SIGSYS && s.inside {
		s.call.began.Result = resultForbidden // immediately, so it did not return
		s.events <- s.call.began
	}
	return ws, err
}

func (s *sptSource) wait() (ws unix.WaitStatus, err error) {
	for {
		if _, err = unix.Wait4(s.pid, &ws, unix.WALL, nil); err != unix.EINTR {
			return ws, err
		}
	}
}

// syscall looks at a call's begin or end.
func (s *sptSource) syscall() {
	i, err := ptrace.CallInfo(s.pid)
	if err != nil {
		return // it was killed
	}
	now := time.Now()
	if i.Op == ptrace.Entry {
		e := Event{Kind: Began, Setup: !s.running, Time: now.Sub(s.zero), Bytes: -1}
		s.describe(&e, &i)
		if s.running {
			e.Caller = s.caller(&i)
		}
		s.call, s.inside = entry{i, e, now}, true
		s.send(e)
		return
	}
	if i.Op != ptrace.Exit || !s.inside {
		return
	}
	e := s.call.began
	e.Kind, e.Took = Done, now.Sub(s.call.start)
	result, failed := i.Words[0], byte(i.Words[1]) != 0
	// A forbidden call leaves its number in RAX, which may also be a result.
	trapped := result == s.call.Words[0] && ptrace.PendingSignal(s.pid) == unix.SIGSYS
	switch {
	case trapped:
		e.Result = resultForbidden
	case failed:
		e.Result = errorName(unix.Errno(-result))
	default:
		e.Result = resultOK
		s.gave(&e, result)
	}
	s.inside = false
	s.send(e)
	// The filter, and a question that it answers, are the last things before the
	// guest, which cannot install any.
	switch {
	case s.running:
	case s.filtered:
		s.begin()
	case e.Call == "seccomp" && result == 0:
		s.filtered = true
	}
}

// begin tells that the guest's first instruction comes next.
func (s *sptSource) begin() {
	s.running = true
	if !s.setup {
		s.zero = time.Now()
	}
	s.started(s.zero)
}

// send leaves out what is not shown, but not what ends the run.
func (s *sptSource) send(e Event) {
	if s.running || s.setup {
		s.events <- e
	}
}

// signal tells of a signal and returns the one to deliver.
func (s *sptSource) signal(sig syscall.Signal) int {
	info, err := ptrace.Signal(s.pid)
	if err != nil {
		return 0 // a stop by a signal that was delivered
	}
	e := Event{Kind: Signal, Call: unix.SignalName(sig), Time: time.Since(s.zero), Bytes: -1}
	switch code := info.Code(); {
	case code <= 0:
		e.Args = []Value{{"sender", info.Sender(), "sent by process " + strconv.Itoa(int(info.Sender()))}}
	case code < siKernel && (sig == unix.SIGSEGV || sig == unix.SIGBUS || sig == unix.SIGILL || sig == unix.SIGFPE):
		a := hex("address", info.Address())
		a.Text = "at address " + a.Text
		e.Args = []Value{a}
	}
	s.send(e)
	return int(sig)
}

// siKernel is SI_KERNEL: the kernel's, without an address.
const siKernel = 0x80

// caller names the function that calls. In Solo5's bindings the instruction is
// in a function sys_NAME that does nothing else, so the one that called it says
// more: its address is on the guest's stack.
func (s *sptSource) caller(i *ptrace.SyscallInfo) string {
	const instruction = 2 // bytes
	if i.IP-s.Stub < 4096 {
		return "gocat's own code"
	}
	name := s.symbols.at(i.IP - instruction)
	if !strings.HasPrefix(name, "sys_") {
		return name
	}
	if b := ptrace.Read(s.pid, i.SP, 8); b != nil {
		if from := s.symbols.at(binary.LittleEndian.Uint64(b)); from != "" {
			return from
		}
	}
	return name
}

func errorName(e unix.Errno) string {
	switch e { // linux/errno.h: ERESTARTSYS and its like never leave the kernel but to a tracer
	case 512, 513, 514, 516:
		return resultRestarted
	}
	if name := unix.ErrnoName(e); name != "" {
		return name
	}
	return "error " + strconv.Itoa(int(e))
}
