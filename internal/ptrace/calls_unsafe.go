package ptrace

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// suspendSeccomp is PTRACE_O_SUSPEND_SECCOMP (linux/ptrace.h).
const suspendSeccomp = 1 << 21

// Calls has a stopped process make system calls for its tracer.
type Calls struct {
	// Unfiltered says that the process's seccomp filters do not judge these calls. It
	// takes a kernel with CONFIG_CHECKPOINT_RESTORE, and CAP_SYS_ADMIN.
	Unfiltered bool

	pid   int
	at    uint64 // address of a SYSCALL instruction in the process
	saved unix.PtraceRegs
	mask  uint64 // blocked signals
}

// NewCalls begins, in a process that was seized and is stopped by PTRACE_INTERRUPT.
// No signal reaches it until End.
func NewCalls(pid int, at uint64) (*Calls, error) {
	c := &Calls{pid: pid, at: at}
	if err := unix.PtraceGetRegs(pid, &c.saved); err != nil {
		return nil, err
	}
	c.Unfiltered = unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|suspendSeccomp) == nil
	if !c.Unfiltered {
		if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD); err != nil {
			return nil, err
		}
	}
	if _, err := ptrace(unix.PTRACE_GETSIGMASK, pid, unsafe.Sizeof(c.mask), unsafe.Pointer(&c.mask)); err != nil {
		return nil, err
	}
	all := ^uint64(0)
	_, err := ptrace(unix.PTRACE_SETSIGMASK, pid, unsafe.Sizeof(all), unsafe.Pointer(&all))
	return c, err
}

// errStop: the process did something else.
var errStop = errors.New("the process did not stop as it should")

// Call makes the process call and returns an error number as an error.
func (c *Calls) Call(number uint64, args ...uint64) error {
	regs := c.saved
	regs.Rip, regs.Rax, regs.Orig_rax = c.at, number, ^uint64(0)
	for i, to := range []*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.R10, &regs.R8, &regs.R9} {
		if *to = 0; i < len(args) {
			*to = args[i]
		}
	}
	if err := unix.PtraceSetRegs(c.pid, &regs); err != nil {
		return err
	}
	for range 2 { // the call's entry, and its exit
		if err := unix.PtraceSyscall(c.pid, 0); err != nil {
			return err
		}
		ws, err := stopped(c.pid)
		if err != nil {
			return err
		}
		if ws.StopSignal() != unix.SIGTRAP|0x80 {
			return fmt.Errorf("%w: status %#x", errStop, ws)
		}
	}
	if err := unix.PtraceGetRegs(c.pid, &regs); err != nil {
		return err
	}
	if result := int64(regs.Rax); result < 0 {
		return unix.Errno(-result)
	}
	return nil
}

// End makes the process what it was, stopped again so that a call which it was in
// goes on as after any signal.
func (c *Calls) End() error {
	if err := unix.PtraceInterrupt(c.pid); err != nil {
		return err
	}
	if err := unix.PtraceCont(c.pid, 0); err != nil {
		return err
	}
	ws, err := stopped(c.pid)
	if err == nil && int(ws)>>16 != unix.PTRACE_EVENT_STOP {
		err = fmt.Errorf("%w: status %#x", errStop, ws)
	}
	_, err2 := ptrace(unix.PTRACE_SETSIGMASK, c.pid, unsafe.Sizeof(c.mask), unsafe.Pointer(&c.mask))
	return errors.Join(err, unix.PtraceSetRegs(c.pid, &c.saved), err2)
}

// stopped waits for a process to stop.
func stopped(pid int) (ws unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(pid, &ws, unix.WALL, nil)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil && !ws.Stopped() {
		err = errStop
	}
	return ws, err
}
