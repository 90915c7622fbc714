package spt

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// Memory of guests with a timer.
const (
	timerWords = guests.Scratch
	tickCount  = guests.Scratch + 0x100
)

// le32 is v as an operand of an instruction.
func le32(v uint64) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }

// countTick is code that counts: inc dword [tickCount]
var countTick = slices.Concat([]byte{0xff, 0x04, 0x25}, le32(tickCount))

// untilTicks is code that spins until so many are counted: cmp dword [tickCount], n; jb
func untilTicks(n uint64) []byte {
	return slices.Concat([]byte{0x81, 0x3c, 0x25}, le32(tickCount), le32(n), []byte{0x72, 0xf3})
}

// returning is the end of a handler: it goes back to where the signal came, with
// other registers. push ss, the context's rsp and flags, cs, its rip; iretq
var returning = []byte{
	0x8c, 0xd0, 0x50, 0xff, 0xb2, 0xa0, 0, 0, 0, 0xff, 0xb2, 0xb0, 0, 0, 0,
	0x8c, 0xc8, 0x50, 0xff, 0xb2, 0xa8, 0, 0, 0, 0x48, 0xcf,
}

var spinning = []byte{0xeb, 0xfe} // jmp $

// timed is a guest whose timer has handler called, and that executes code.
func timed(t *testing.T, handler []byte, code ...[]byte) *unikernel {
	t.Helper()
	return probe(t, func(p *guests.Probe) {
		p.Timer(timerWords)
		p.Handler(p.Code(handler))
		execute(p, code...)
	})
}

// survivor is a handler that counts, says that the guest is alive and ends it.
func survivor() []byte {
	code := call(unix.SYS_WRITE, 1, tickCount+0x100, uint64(len(alive)))
	text := slices.Concat(mov(rax, 0x0a6576696c61), []byte{0x48, 0xa3}, le32(tickCount+0x100), le32(0)) // "alive\n"; mov [..], rax
	return slices.Concat(text, code, call(unix.SYS_EXIT_GROUP, 3))
}

// TestTimerTicks has a guest go on after each of a few ticks, on its own.
func TestTimerTicks(t *testing.T) {
	u := probe(t, func(p *guests.Probe) {
		p.Timer(timerWords)
		p.Handler(p.Code(slices.Concat(countTick, returning)))
		p.Do(p.Load64(guests.N(timerWords)).Equals(guests.N(1|period<<32), 9))
		execute(p, untilTicks(5))
	})
	check(t, u.run(t), 3, alive, "")
	u.QuietFaults = true
	check(t, u.run(t), 3, alive, "")
	u.QuietFaults = false
	check(t, u.command(t).Run(t), 3, alive, "")
}

// TestTimerPolicy compares what a guest may call with and without a timer.
func TestTimerPolicy(t *testing.T) {
	policy := func(u *unikernel) any {
		p, err := Policy(u.sealable(t))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	with, without := policy(timed(t, returning, spinning)), policy(probe(t, func(p *guests.Probe) {
		p.Handler(p.Code(returning))
		execute(p, spinning)
	}))
	if !reflect.DeepEqual(with, without) {
		t.Errorf("with a timer %+v\nwithout %+v", with, without)
	}
}

// TestTimerHandlers has handlers that try what no guest may.
func TestTimerHandlers(t *testing.T) {
	for name, tt := range map[string]struct {
		handler []byte
		status  []int
		line    string
	}{
		"return by system call": {call(unix.SYS_RT_SIGRETURN), []int{159}, "forbidden system call rt_sigreturn"},
		"another timer":         {call(unix.SYS_SETITIMER, 0, guests.Scratch, 0), []int{159}, "forbidden system call setitimer"},
		"another handler":       {call(unix.SYS_RT_SIGACTION, 26, guests.Scratch, 0, 8), []int{159}, "forbidden system call rt_sigaction"},
		"another stack":         {call(unix.SYS_SIGALTSTACK, guests.Scratch, 0), []int{159}, "forbidden system call sigaltstack"},
		"a mask":                {call(unix.SYS_RT_SIGPROCMASK, 0, guests.Scratch, 0, 8), []int{159}, "forbidden system call rt_sigprocmask"},
		"no stack":              {slices.Concat(mov(rsp, 0), call(forbidden)), []int{159}, forbiddenLine},
		"the restorer":          {[]byte{0xc3}, []int{139, 159}, ""}, // ret: to the stub, with hostile registers
		"level 0":               {[]byte{0x31, 0xc0, 0x50, 0x54, 0x9c, 0x6a, 0x10, 0x50, 0x48, 0xcf}, []int{139}, ""},
		"halt":                  {[]byte{0xf4}, []int{139}, ""},
		"illegal":               {[]byte{0x0f, 0x0b}, []int{132}, "SIGILL"},
		"bad state":             {slices.Concat(mov(rcx, guests.Scratch), mov(rax, ^uint64(0)), mov(rdx, ^uint64(0)), []byte{0x48, 0xc7, 0x81, 0, 2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x48, 0x0f, 0xae, 0x29, 0x0f, 0x0b}), []int{132, 139}, ""}, // xrstor64 [rcx]
		"32-bit code":           {slices.Concat([]byte{0x6a, 0x23, 0x48, 0x8d, 0x05, 3, 0, 0, 0, 0x50, 0x48, 0xcb}, []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80}), []int{159, 139}, ""},
	} {
		r := timed(t, tt.handler, spinning).run(t)
		if !slices.Contains(tt.status, r.Status) || r.Stdout != "" || !strings.Contains(r.Stderr, tt.line) {
			t.Errorf("%s: status %d, stdout %q, stderr %q", name, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// TestTimerStackPointer has the timer interrupt guests whose stack pointer is
// anywhere.
func TestTimerStackPointer(t *testing.T) {
	for _, sp := range []uint64{
		0, 8, memBase, stubBase + 0x800, lineBase + 8, stackBase - 8, stackBase, stackBase + 0x100, stackBase + 0x4000, stackBase + stackSize - 8,
		stackBase + stackSize, textsBase + 0x100, text + 0x100, end, 1 << 32, taskEnd, 1 << 63, ^uint64(0),
	} {
		r := timed(t, call(forbidden), mov(rsp, sp), spinning).run(t)
		reported := r.Status == 159 && strings.HasPrefix(r.Stderr, forbiddenLine)
		noRoom := r.Status == 139 && r.Stderr == ""
		if onStack := sp > stackBase && sp <= stackBase+stackSize; r.Stdout != "" || !reported && !(onStack && noRoom) {
			t.Errorf("rsp %#x: status %d, stdout %q, stderr %q", sp, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// TestTimerOverAndOver has handlers that are interrupted in turn, down their
// stack.
func TestTimerOverAndOver(t *testing.T) {
	r, w := testhost.Pipe(t)
	u := timed(t, spinning, call(unix.SYS_WRITE, 1, image.MinAddr, 1), spinning)
	c := testhost.Command{Path: u.seal(t), Files: []*os.File{testhost.Null(t), w, testhost.Memfd(t)}}
	p := c.Start(t)
	if n, err := r.Read(make([]byte, 1)); n != 1 {
		t.Fatal(err)
	}
	for p.Running() { // each of these is a frame, till there is no room
		unix.Kill(p.Pid, unix.SIGVTALRM)
	}
	if s := p.Wait(); !s.Signaled() || s.Signal() != unix.SIGSEGV {
		t.Errorf("status %#x", s)
	}
}

// TestSignalInReport has signals that a guest handles come while a report is made:
// the guest must not go on.
func TestSignalInReport(t *testing.T) {
	_, at := stubCode()
	jump := slices.Concat(mov(rbx, uint64(unix.SIGILL)), mov(rdi, 2), mov(rsi, lineBase), mov(rdx, 8),
		mov(rax, unix.SYS_WRITE), mov(rcx, stubBase+at.owned), []byte{0xff, 0xe1}) // jmp rcx
	for _, tt := range []struct {
		name   string
		code   []byte
		signal unix.Signal
		status int
		ends   bool // by the signal, while nobody takes the report
	}{
		{"its own report", call(forbidden), unix.SIGVTALRM, 159, false},
		{"its own report", call(forbidden), unix.SIGTERM, 143, true},
		{"a jump there", jump, unix.SIGVTALRM, 154, true},
		{"a jump there", jump, unix.SIGINT, 130, true},
	} {
		r, w := testhost.Pipe(t)
		testhost.Fill(t, w)
		stdout := testhost.Memfd(t)
		u := probe(t, func(p *guests.Probe) {
			p.Timer(timerWords)
			p.Signals(timerWords + 8)
			p.Handler(p.Code(survivor()))
			execute(p, tt.code)
		})
		c := testhost.Command{Path: u.seal(t), Files: []*os.File{testhost.Null(t), stdout, w}}
		p := c.Start(t)
		p.WaitAsleepIn(stubBase, stubBase+image.PageSize)
		p.Signal(tt.signal)
		if !tt.ends {
			p.WaitAsleepIn(stubBase, stubBase+image.PageSize)
			go io.Copy(io.Discard, r)
		}
		if s := p.Wait(); testhost.Status(s) != tt.status || testhost.Contents(t, stdout) != "" {
			t.Errorf("%s, %v: status %#x, stdout %q", tt.name, tt.signal, s, testhost.Contents(t, stdout))
		}
		w.Close()
	}
}

// TestSignalOnce has a guest that only counts what it is told of: a second signal
// ends it.
func TestSignalOnce(t *testing.T) {
	r, w := testhost.Pipe(t)
	u := probe(t, func(p *guests.Probe) {
		p.Signals(timerWords)
		p.Handler(p.Code(slices.Concat(call(unix.SYS_WRITE, 1, image.MinAddr, 1), []byte{0xeb, 0xfe})))
		execute(p, call(unix.SYS_WRITE, 1, image.MinAddr, 1), spinning)
	})
	c := testhost.Command{Path: u.seal(t), Files: []*os.File{testhost.Null(t), w, testhost.Memfd(t)}}
	p := c.Start(t)
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGTERM} {
		if n, err := r.Read(make([]byte, 1)); n != 1 {
			t.Fatal(err)
		}
		p.Signal(s)
	}
	if s := p.Wait(); !s.Signaled() || s.Signal() != unix.SIGTERM {
		t.Errorf("status %#x", s)
	}
}

// TestTimerAsGadget has the timer interrupt a guest at every byte of the stub at
// which it can be made to wait: it jumps to each, over and over, and what comes
// back must not have made a forbidden call twice.
func TestTimerAsGadget(t *testing.T) {
	code, at := stubCode()
	for _, from := range []uint64{0, 1, 2, at.owned, at.report, at.pass, uint64(len(code) - 1)} {
		loop := slices.Concat(mov(rcx, stubBase+from), mov(rbx, uint64(unix.SIGILL)), mov(rdi, 2), mov(rsi, lineBase),
			mov(rdx, lineBase), mov(rax, unix.SYS_WRITE), []byte{0xff, 0xe1})
		u := probe(t, func(p *guests.Probe) {
			p.Timer(timerWords)
			again := p.Code(loop)
			p.Handler(p.Code(slices.Concat(countTick, mov(rax, again), []byte{0xff, 0xe0})))
			execute(p, loop)
		})
		r := u.run(t)
		if r.Status < 128 || r.Stdout != "" || strings.Count(r.Stderr, "gocat: guest killed by ") > 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q", fmt.Sprintf("from %#x", from), r.Status, r.Stdout, r.Stderr)
		}
	}
}
