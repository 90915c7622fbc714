package debug

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"golang.org/x/sys/unix"

	"gocat/internal/core"
	"gocat/internal/ptrace"
)

// Running is a running guest.
type Running struct {
	PID    int    // of its process, or of its tender's
	HVT    bool   // else spt
	Image  string // the name of its image
	Memory uint64 // bytes
}

// Stopped is a guest that was stopped so that it can be examined.
type Stopped struct {
	pid    int
	memory processMemory
	guest  *core.Guest
}

// Stop stops a running guest. It continues after Close, and also when this process
// ends; but an hvt guest may end if this process is killed in here. Stop needs the
// right to trace the guest's process. Only root has it, except for guests under
// gocat run --gdb. The calling thread is locked until Close.
func Stop(r Running) (s *Stopped, err error) {
	runtime.LockOSThread() // the thread that traces
	s = &Stopped{pid: r.PID}
	if err := unix.PtraceSeize(r.PID); err != nil {
		runtime.UnlockOSThread()
		if errors.Is(err, unix.EPERM) {
			return nil, fmt.Errorf("process %d: %w: only root may look into a guest, and not where kernel.yama.ptrace_scope is 3, nor while a debugger does", r.PID, err)
		}
		return nil, fmt.Errorf("process %d: %w", r.PID, err)
	}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if err := interrupt(r.PID); err != nil {
		return nil, err
	}
	if s.memory, err = openMemory(r.PID); err != nil {
		return nil, err
	}
	look := lookSPT
	if r.HVT {
		look = lookHVT
	}
	if s.guest, err = look(r, s.memory); err != nil {
		return nil, err
	}
	s.guest.PID, s.guest.Name = r.PID, r.Image
	return s, nil
}

// Close lets the guest continue.
func (s *Stopped) Close() {
	s.memory.close()
	unix.PtraceDetach(s.pid)
	runtime.UnlockOSThread()
}

// Dump writes a core file of the guest to w.
func (s *Stopped) Dump(w io.WriterAt) error { return core.Write(w, s.guest, 0) }

// interrupt stops a seized process.
func interrupt(pid int) error {
	if err := unix.PtraceInterrupt(pid); err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || !ws.Stopped():
			return fmt.Errorf("process %d ended meanwhile", pid)
		case int(ws)>>16 == unix.PTRACE_EVENT_STOP:
			return nil
		default: // a signal came first
			if err := unix.PtraceCont(pid, int(ws.StopSignal())); err != nil {
				return fmt.Errorf("process %d ended meanwhile", pid)
			}
		}
	}
}

// lookSPT examines an spt guest: the process is the guest itself.
func lookSPT(r Running, m processMemory) (*core.Guest, error) {
	regs, avx, err := ptrace.Registers(r.PID)
	if err != nil {
		return nil, err
	}
	regions, err := m.regions(r.Memory)
	if err != nil {
		return nil, err
	}
	return &core.Guest{Registers: regs, AVX: avx, Regions: regions, Read: m.read}, nil
}
