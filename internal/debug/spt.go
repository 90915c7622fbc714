package debug

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"gocat/internal/core"
	"gocat/internal/device"
	"gocat/internal/gdb"
	"gocat/internal/image"
	"gocat/internal/ptrace"
	"gocat/internal/supervise"
	"gocat/internal/tender"
	"gocat/internal/x86"
	"gocat/spt"
)

// sptTarget is an spt guest, in a process that the calling thread traces. It is
// the same executable that gocat run becomes, with the same plan and filter.
type sptTarget struct {
	process    *supervise.Process
	pid        int
	end        uint64 // of guest memory
	stub       uint64 // address of the page of gocat's own code
	memory     processMemory
	avx        bool
	fault      *x86.Registers // at the last one
	signal     int            // of the last one
	onEnd      func(status, signal int)
	interrupts atomic.Bool // Interrupt sent a SIGSTOP that has not been seen
}

// startSPT starts the guest's process and lets it run up to the guest's first
// instruction. When the process ends before, stop says how, and there is no
// guest.
func startSPT(g *tender.Guest, p *supervise.Process) (t *sptTarget, stop gdb.Stop, err error) {
	set, err := device.Attach(g.Image.Manifest, &g.Devices)
	if err != nil {
		return nil, stop, err
	}
	defer set.Close()
	c, err := g.SPT(set)
	if err != nil {
		return nil, stop, err
	}
	c.Isolate.Traced = true
	e, err := spt.NewExecutable(c)
	if err != nil {
		return nil, stop, err
	}
	defer unix.Close(e.FD)
	t = &sptTarget{process: p, end: g.Memory, stub: e.Stub}
	if t.pid, err = supervise.Start("/proc/self/fd/"+strconv.Itoa(e.FD), []string{g.Name}, nil, true); err != nil {
		return nil, stop, err
	}
	p.Adopt(t.pid)
	if stop, err = t.wait(); err != nil || stop.Gone() {
		return t, stop, err
	}
	// From here on a tracer that dies takes the guest with it.
	if err := unix.PtraceSetOptions(t.pid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACEEXIT); err != nil {
		return nil, stop, fmt.Errorf("could not trace the guest's process: %w", err)
	}
	if t.memory, err = openMemory(t.pid); err != nil {
		return nil, stop, err
	}
	if stop, err = t.runTo(g.Image.Entry); err == nil && !stop.Gone() {
		_, err = t.Registers() // which finds out about AVX
	}
	return t, stop, err
}

// runTo lets gocat's own code in the process run up to the guest's first
// instruction.
func (t *sptTarget) runTo(entry uint64) (gdb.Stop, error) {
	var d gdb.DebugRegisters
	d.Addr[0], d.Control = entry, 1
	if err := t.SetDebug(d); err != nil {
		return gdb.Stop{}, fmt.Errorf("could not set a breakpoint at the guest's first instruction: %w", err)
	}
	for signal := 0; ; {
		stop, err := t.Resume(false, signal)
		if err != nil || stop.Reason != gdb.Signaled {
			if err == nil && stop.Reason == gdb.Debugged {
				err = t.SetDebug(gdb.DebugRegisters{})
			}
			return stop, err
		}
		signal = stop.Signal
	}
}

func (t *sptTarget) Registers() (*x86.Registers, error) {
	r, avx, err := ptrace.Registers(t.pid)
	t.avx = avx
	return r, err
}

func (t *sptTarget) SetRegisters(r *x86.Registers) error { return ptrace.SetRegisters(t.pid, r) }

func (t *sptTarget) ReadMemory(addr uint64, b []byte) int {
	return t.memory.read(addr, b)
}

func (t *sptTarget) WriteMemory(addr uint64, b []byte) error { return t.memory.write(addr, b) }

// SetDebug sets the addresses while nothing looks at them: the kernel refuses
// some combinations of old and new.
func (t *sptTarget) SetDebug(d gdb.DebugRegisters) error {
	if err := ptrace.SetDebugRegister(t.pid, ptrace.DebugControl, 0); err != nil {
		return err
	}
	for n, addr := range d.Addr {
		if err := ptrace.SetDebugRegister(t.pid, n, addr); err != nil {
			return err
		}
	}
	return ptrace.SetDebugRegister(t.pid, ptrace.DebugControl, d.Control)
}

// Resume passes over stops that do not concern a debugger: SIGSTOP and similar
// signals, which a tracer sees a second time when they have stopped the
// process.
func (t *sptTarget) Resume(step bool, signal int) (gdb.Stop, error) {
	for {
		if err := ptrace.Resume(t.pid, step, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return gdb.Stop{}, err
		}
		stop, again, err := t.next(step)
		if !again || err != nil {
			return stop, err
		}
		signal = 0
	}
}

// next waits for a stop. again says that the stop does not concern the
// debugger.
func (t *sptTarget) next(step bool) (stop gdb.Stop, again bool, err error) {
	stop, err = t.wait()
	if err != nil || stop.Reason != gdb.Signaled {
		return stop, false, err
	}
	info, err := ptrace.Signal(t.pid)
	if err != nil {
		return stop, !errors.Is(err, unix.ESRCH), nil // a stop by a signal that was delivered
	}
	switch {
	case stop.Signal == int(unix.SIGSTOP) && info.Code() == siUser && info.Sender() == int32(unix.Getpid()) && t.interrupts.Swap(false):
		stop.Reason = gdb.Interrupted
	case stop.Signal == int(unix.SIGTRAP) && info.Code() > 0:
		stop, err = t.trapped(stop)
	}
	if stop.Reason == gdb.Signaled && info.Code() > 0 {
		t.keepFault(stop.Signal)
	}
	return stop, false, err
}

// keepFault keeps the guest's registers at a fault. The fault reporter ends a guest
// by a second one of its own, which says nothing.
func (t *sptTarget) keepFault(signal int) {
	if r, err := t.Registers(); err == nil && r.RIP-t.stub >= image.PageSize {
		t.fault, t.signal = r, signal
	}
}

// trapped finds out what a SIGTRAP from the processor means. One that nothing
// explains goes to the guest.
func (t *sptTarget) trapped(stop gdb.Stop) (gdb.Stop, error) {
	status, err := ptrace.DebugRegister(t.pid, ptrace.DebugStatus)
	if err != nil {
		return stop, err
	}
	if err := ptrace.SetDebugRegister(t.pid, ptrace.DebugStatus, 0); err != nil {
		return stop, err
	}
	switch {
	case status&15 != 0:
		return gdb.Stop{Reason: gdb.Debugged, Status: status}, nil
	case status&singleStep != 0:
		return gdb.Stop{Reason: gdb.Stepped}, nil
	}
	// A breakpoint instruction is one byte; the debugger wants its address.
	r, err := t.Registers()
	if err != nil {
		return stop, err
	}
	var b [1]byte
	if t.ReadMemory(r.RIP-1, b[:]) != 1 || b[0] != int3 {
		return stop, nil
	}
	r.RIP--
	return gdb.Stop{Reason: gdb.Trapped}, t.SetRegisters(r)
}

const (
	singleStep = 1 << 14 // DR6.BS
	int3       = 0xcc
	siUser     = 0 // SI_USER
)

// AVX implements target.
func (t *sptTarget) AVX() bool { return t.avx }

// PID implements target.
func (t *sptTarget) PID() int { return t.pid }

// Memory implements target.
func (t *sptTarget) Memory() ([]core.Region, error) { return t.memory.regions(t.end) }

// OnEnd implements target.
func (t *sptTarget) OnEnd(end func(status, signal int)) { t.onEnd = end }

// FaultRegisters implements target. A tracer does not see a forbidden call that
// kills immediately as a fault: then the registers are those that the process ends
// with.
func (t *sptTarget) FaultRegisters() (*x86.Registers, error) {
	if t.fault != nil {
		return t.fault, nil
	}
	return t.Registers()
}

func (t *sptTarget) Interrupt() {
	t.interrupts.Store(true)
	t.process.Signal(unix.SIGSTOP) // by its descriptor, since it may have ended
}

func (t *sptTarget) Kill() {
	t.process.Kill()
	for {
		if stop, err := t.wait(); err != nil || stop.Gone() {
			return
		}
	}
}

// dumping are the signals whose end leaves a core file: those of a guest's own doing,
// and SIGQUIT.
var dumping = []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS, unix.SIGABRT, unix.SIGQUIT}

// ending is called when the process is about to end, with its memory still there.
func (t *sptTarget) ending() {
	if msg, err := unix.PtraceGetEventMsg(t.pid); err == nil && t.onEnd != nil {
		ws, signal := unix.WaitStatus(msg), 0
		if ws.Signaled() && slices.Contains(dumping, ws.Signal()) {
			signal = int(ws.Signal())
		}
		if t.signal != signal {
			t.fault = nil // the guest has handled it
		}
		t.onEnd(supervise.Status(ws), signal)
	}
	ptrace.Resume(t.pid, false, 0)
}

// wait waits for the process to stop or to end.
func (t *sptTarget) wait() (gdb.Stop, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(t.pid, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		switch {
		case err != nil:
			return gdb.Stop{}, fmt.Errorf("wait for the guest: %w", err)
		case ws.Exited():
			return gdb.Stop{Reason: gdb.Exited, Code: ws.ExitStatus()}, nil
		case ws.Signaled():
			return gdb.Stop{Reason: gdb.Killed, Signal: int(ws.Signal())}, nil
		case ws.StopSignal() == unix.SIGTRAP && int(ws)>>16 == unix.PTRACE_EVENT_EXIT:
			t.ending()
			continue
		}
		return gdb.Stop{Reason: gdb.Signaled, Signal: int(ws.StopSignal())}, nil
	}
}
