package spt

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// forbidden is a system call that no guest may make.
const forbidden = unix.SYS_GETPID

// forbiddenLine begins the report of it.
const forbiddenLine = "gocat: guest killed by SIGSYS: forbidden system call getpid; rax 0x27"

// hostile runs a guest that executes code, which makes a forbidden call or a
// memory fault. It must be dead by then: of the two signals, and without another
// word. It returns the status and the report.
func hostile(t *testing.T, what string, before, deadly []byte) (int, string) {
	t.Helper()
	u := probe(t, func(p *guests.Probe) { execute(p, before, deadly) })
	r := u.run(t)
	if r.Status != 159 && r.Status != 139 || r.Stdout != "" {
		t.Errorf("%s: status %d, stdout %q, stderr %q", what, r.Status, r.Stdout, r.Stderr)
	}
	if r.Stderr != "" && (!strings.HasPrefix(r.Stderr, "gocat: guest killed by SIG") || strings.Count(r.Stderr, "\n") != 1) {
		t.Errorf("%s: stderr %q", what, r.Stderr)
	}
	return r.Status, r.Stderr
}

// loadNull is a memory fault: mov rax, [0].
var loadNull = []byte{0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0}

// TestReporterStackPointer has guests whose stack pointer is anywhere when they
// make a forbidden call or a memory fault.
func TestReporterStackPointer(t *testing.T) {
	for _, sp := range []uint64{
		0, 1, 8, 0x1000, memBase - 8, stubBase + 0x800, bootBase + 0x100, lineBase, lineBase + 8, lineBase + lineSize,
		stackBase - 16, stackBase - 8, stackBase + stackSize, stackBase + stackSize + 8,
		textsBase + 0x100, planBase + 8, text + 0x100, rodata + 0x100, guests.Scratch + 0x100, end - 8, end, end + 8,
		1 << 32, taskEnd - 8, taskEnd, taskEnd + 8, 1 << 47, 1 << 63, 0xffff800000000000, 0xffffffffff600100, ^uint64(0),
	} {
		what := fmt.Sprintf("rsp %#x", sp)
		status, line := hostile(t, what, mov(rsp, sp), call(forbidden))
		if status != 159 || !strings.HasPrefix(line, forbiddenLine) {
			t.Errorf("%s: forbidden call: status %d, %q", what, status, line)
		}
		status, line = hostile(t, what, mov(rsp, sp), loadNull)
		if status != 139 || !strings.Contains(line, "memory fault at address 0x0; rip ") {
			t.Errorf("%s: memory fault: status %d, %q", what, status, line)
		}
	}
}

// TestReporterOnItsStack has guests that use the reporter's stack as their own.
func TestReporterOnItsStack(t *testing.T) {
	for sp := uint64(stackBase); sp <= stackBase+stackSize; sp += 8 {
		if d := sp - stackBase; d > 0x40 && d < stackSize-0x40 && d%0x108 != 0 {
			continue
		}
		status, line := hostile(t, fmt.Sprintf("rsp %#x", sp), mov(rsp, sp), call(forbidden))
		if status != 159 || !strings.HasPrefix(line, forbiddenLine) {
			t.Errorf("rsp %#x: status %d, %q", sp, status, line)
		}
	}
}

// TestReporterMemory has a guest that overwrites all the memory that the
// reporter uses.
func TestReporterMemory(t *testing.T) {
	for _, b := range []byte{0, 0x30, 0xff} {
		const size = stackBase + stackSize - lineBase
		fill := append(append(mov(rdi, lineBase), mov(rcx, size)...), 0xb0, b, 0xf3, 0xaa) // mov al, b; rep stosb
		status, line := hostile(t, "overwritten", fill, call(forbidden))
		if status != 159 || !strings.HasPrefix(line, forbiddenLine) {
			t.Errorf("memory filled with %#x: status %d, %q", b, status, line)
		}
	}
}

// TestReporterFlags has guests that make the call with odd flags.
func TestReporterFlags(t *testing.T) {
	const trap, direction, nested, resume, alignment, identification = 0x100, 0x400, 0x4000, 0x10000, 0x40000, 0x200000
	const privilege, virtual8086, virtualInterrupt = 0x3000, 0x20000, 0x80000
	for _, flags := range []uint32{
		trap, direction, nested, resume, alignment, identification, trap | direction | alignment | nested,
		privilege | virtual8086 | virtualInterrupt, // not a guest's to set
	} {
		// pushfq; or dword [rsp], flags; popfq
		set := []byte{0x9c, 0x81, 0x0c, 0x24, byte(flags), byte(flags >> 8), byte(flags >> 16), byte(flags >> 24), 0x9d}
		before := append(mov(rax, forbidden), set...)
		status, line := hostile(t, "flags", before, syscallInstruction)
		if status != 159 || !strings.HasPrefix(line, forbiddenLine) {
			t.Errorf("flags %#x: status %d, %q", flags, status, line)
		}
	}
}

// TestReporterRegisters has guests with any other state that a guest can change
// without a call: SSE and x87 exceptions unmasked and pending, segment registers
// loaded, and code of 32 bits.
func TestReporterRegisters(t *testing.T) {
	for what, before := range map[string][]byte{
		"x87":  {0x68, 0x40, 0x03, 0, 0, 0xd9, 0x2c, 0x24, 0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9}, // fldcw 0x340; 1 / 0, pending
		"sse":  {0x68, 0x00, 0x00, 0, 0, 0x0f, 0xae, 0x14, 0x24},                               // ldmxcsr 0
		"data": {0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xe0, 0x8e, 0xe8},                   // ds, es, fs, gs = 0
		"fs":   call(unix.SYS_ARCH_PRCTL, abi.ArchSetFS, 0x7fffffffe000),
	} {
		status, line := hostile(t, what, before, call(forbidden))
		if status != 159 || !strings.HasPrefix(line, forbiddenLine) {
			t.Errorf("%s: status %d, %q", what, status, line)
		}
	}
	data32 := []byte{0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8} // mov eax, 0x2b; mov ds, eax
	for what, code := range map[string]struct {
		code   []byte
		status []int
		line   string
	}{
		"int 0x80":   {[]byte{0xb8, 1, 0, 0, 0, 0xcd, 0x80}, []int{159}, "forbidden system call of the i386 interface; rax 0x1 "},
		"no segment": {[]byte{0xa1, 0, 0, 0, 0}, []int{139}, privileged},
		"memory":     {append(data32, 0xa1, 0, 0, 0, 0), []int{139}, memory + "0x0"},
		"top":        {append(data32, 0xa1, 0, 0xf0, 0xff, 0xff), []int{139}, memory + "0xfffff000"},
		"privileged": {[]byte{0xf4}, []int{139}, privileged},
		"illegal":    {[]byte{0x0f, 0x0b}, []int{132}, "SIGILL"},
		// Intel's has no SYSCALL in 32-bit code, AMD's has; SYSENTER is the
		// other way round.
		"syscall":  {[]byte{0xb8, 20, 0, 0, 0, 0x0f, 0x05}, []int{132, 159}, ""},
		"sysenter": {[]byte{0xb8, 20, 0, 0, 0, 0x0f, 0x34}, []int{132, 139, 159}, ""},
	} {
		u := probe(t, func(p *guests.Probe) {
			at := p.Code(append(code.code, 0xf4))
			// push 0x23 (the kernel's 32-bit user code segment); push at; retfq
			execute(p, []byte{0x6a, 0x23}, mov(rax, at), []byte{0x50, 0x48, 0xcb})
		})
		r := u.run(t)
		dead := false
		for _, s := range code.status {
			dead = dead || r.Status == s
		}
		if !dead || r.Stdout != "" || !strings.Contains(r.Stderr, code.line) {
			t.Errorf("32-bit %s: status %d, stdout %q, stderr %q", what, r.Status, r.Stdout, r.Stderr)
		}
	}
}

// TestReporterGate has guests that use the reporter's own system call: it takes
// nothing but the reporter's line, and is the last that the guest does.
func TestReporterGate(t *testing.T) {
	type arguments struct{ nr, fd, buf, size uint64 }
	jump := func(a arguments, gate uint64) *unikernel {
		return probe(t, func(p *guests.Probe) {
			p.Do(p.Store64(guests.N(lineBase), guests.N(0x0a21646e756f6267))) // "gbound!\n"
			p.Do(guests.Step{Code: guests.N(gate), AX: guests.N(a.nr), DI: guests.N(a.fd), SI: guests.N(a.buf), DX: guests.N(a.size)})
			p.Do(p.Puts(alive))
		})
	}
	good := arguments{unix.SYS_WRITE, 2, lineBase, 8}
	if r := jump(good, stubBase).run(t); r.Status < 128 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "gbound!\ngocat: guest killed by ") || strings.Count(r.Stderr, "\n") != 2 {
		t.Errorf("%+v: status %d, stdout %q, stderr %q", good, r.Status, r.Stdout, r.Stderr)
	}
	for _, a := range []arguments{
		{unix.SYS_WRITEV, 2, lineBase, 8},
		{unix.SYS_READ, 2, lineBase, 8},
		{unix.SYS_PWRITE64, 2, lineBase, 8},
		{unix.SYS_GETPPID, 2, lineBase, 8},
		{unix.SYS_WRITE, 0, lineBase, 8},
		{unix.SYS_WRITE, 3, lineBase, 8},
		{unix.SYS_WRITE, 1<<32 | 2, lineBase, 8},
		{unix.SYS_WRITE, 2, lineBase + 1, 8},
		{unix.SYS_WRITE, 2, lineBase - 1, 8},
		{unix.SYS_WRITE, 2, 1<<32 | lineBase, 8},
		{unix.SYS_WRITE, 2, text, 8},
		{unix.SYS_WRITE, 2, 0, 8},
		{unix.SYS_WRITE, 2, lineBase, lineSize + 1},
		{unix.SYS_WRITE, 2, lineBase, 1 << 32},
		{unix.SYS_WRITE, 2, lineBase, ^uint64(0)},
	} {
		r := jump(a, stubBase).run(t)
		if r.Status != 159 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "gocat: guest killed by SIGSYS") {
			t.Errorf("%+v: status %d, stdout %q, stderr %q", a, r.Status, r.Stdout, r.Stderr)
		}
	}
	code, _ := stubCode()
	others := 0
	for at := 1; at+1 < len(code); at++ {
		if code[at] == syscallInstruction[0] && code[at+1] == syscallInstruction[1] {
			others++
			r := jump(good, stubBase+uint64(at)).run(t)
			if r.Status != 159 || r.Stdout != "" || strings.Contains(r.Stderr, "gbound") {
				t.Errorf("by the call at %#x: status %d, stdout %q, stderr %q", at, r.Status, r.Stdout, r.Stderr)
			}
		}
	}
	if others == 0 {
		t.Error("no other system calls found in the stub")
	}
}

// TestReporterThatWaits has guests whose report nobody takes.
func TestReporterThatWaits(t *testing.T) {
	r, w := testhost.Pipe(t)
	testhost.Fill(t, w)
	stdout := testhost.Memfd(t)
	u := probe(t, func(p *guests.Probe) { execute(p, call(forbidden)) })
	c := testhost.Command{Path: u.seal(t), Files: []*os.File{testhost.Null(t), stdout, w}}
	p := c.Start(t)
	p.WaitAsleepIn(stubBase, stubBase+image.PageSize)
	p.Signal(unix.SIGTERM)
	if s := p.Wait(); s.Signal() != unix.SIGTERM || testhost.Contents(t, stdout) != "" {
		t.Errorf("status %#x, stdout %q", s, testhost.Contents(t, stdout))
	}
	r.Close()

	// A standard error that is closed cannot be made to wait.
	u = probe(t, func(p *guests.Probe) {
		p.Do(p.Store64(guests.N(lineBase), guests.N(1<<63)))
		p.Do(guests.Step{Code: guests.N(stubBase), AX: guests.N(unix.SYS_WRITE), DI: guests.N(2), SI: guests.N(lineBase), DX: guests.N(8)})
		execute(p, call(forbidden))
	})
	check(t, u.run(t, testhost.Null(t), testhost.Memfd(t), nil), 139, "", "")
}

// TestSignalsFromOutside has signals that only look like faults.
func TestSignalsFromOutside(t *testing.T) {
	for _, s := range []unix.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS,
		unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGKILL, unix.SIGPIPE, unix.SIGALRM, unix.SIGUSR1} {
		r, w := testhost.Pipe(t)
		stderr := testhost.Memfd(t)
		c := testhost.Command{Path: cat(t, guests.Advanced).seal(t)}
		c.Files = append(c.Files, r, testhost.Null(t), stderr)
		p := c.Start(t)
		p.WaitAsleep()
		p.Signal(s)
		if status := p.Wait(); !status.Signaled() || status.Signal() != s {
			t.Errorf("%v: status %#x", s, status)
		}
		w.Close()
	}
}
