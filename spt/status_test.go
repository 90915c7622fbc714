package spt

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

func TestExitStatus(t *testing.T) {
	for status := range uint64(256) {
		u := probe(t, func(p *guests.Probe) { p.Do(p.Exit(guests.N(status))) })
		u.QuietFaults = status%2 == 1
		check(t, u.run(t), int(status), "", "")
	}
}

// Addresses in a probe of 2 MB.
const (
	text   = image.MinAddr
	rodata = image.MinAddr + 0x1000
	heap   = guests.Scratch + guests.ScratchSize
	end    = 2 << 20
)

// fault is something that ends a guest.
type fault struct {
	name   string
	step   func(*guests.Probe) guests.Step
	signal unix.Signal
	line   string // after "gocat: guest killed by "
	ip     uint64 // of the fault, from the start of the step's code; or absolute
	addr   bool   // the line tells it as the address as well
}

func code(b ...byte) func(*guests.Probe) guests.Step {
	return func(p *guests.Probe) guests.Step { return p.Execute(guests.N(p.Code(b))) }
}

func load(addr uint64) func(*guests.Probe) guests.Step {
	return func(p *guests.Probe) guests.Step { return p.Load8(guests.N(addr)) }
}

func store(addr uint64) func(*guests.Probe) guests.Step {
	return func(p *guests.Probe) guests.Step { return p.Store8(guests.N(addr), guests.N(0xc3)) }
}

func jump(addr uint64) func(*guests.Probe) guests.Step {
	return func(p *guests.Probe) guests.Step { return p.Execute(guests.N(addr)) }
}

func syscall1(nr uint64) func(*guests.Probe) guests.Step {
	return func(p *guests.Probe) guests.Step {
		return p.Syscall(nr, guests.N(0x1), guests.N(0xfedcba9876543210), guests.N(0xabc))
	}
}

const (
	privileged = "SIGSEGV: privileged instruction or non-canonical address"
	memory     = "SIGSEGV: memory fault at address "
	arguments  = " rdi 0x1 rsi 0xfedcba9876543210 rdx 0xabc"
)

var guestFaults = []fault{
	{"int3", code(0xcc), unix.SIGTRAP, "SIGTRAP: breakpoint", 1, false},
	{"int1", code(0xf1), unix.SIGTRAP, "SIGTRAP: breakpoint", 0, true},
	{"trap flag", code(0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x90, 0xc3), unix.SIGTRAP, "SIGTRAP: breakpoint", 8, true},
	{"ud2", code(0x0f, 0x0b), unix.SIGILL, "SIGILL: illegal instruction", 0, true},
	{"div", code(0x31, 0xc9, 0xf7, 0xf1), unix.SIGFPE, "SIGFPE: arithmetic fault", 2, true},
	// push 0x1d80; ldmxcsr [rsp] (division by zero unmasked); 1 / 0
	{"sse", code(0x68, 0x80, 0x1d, 0, 0, 0x0f, 0xae, 0x14, 0x24, 0x58, 0xb8, 1, 0, 0, 0,
		0xf3, 0x0f, 0x2a, 0xc0, 0x0f, 0x57, 0xc9, 0xf3, 0x0f, 0x5e, 0xc1), unix.SIGFPE, "SIGFPE: arithmetic fault", 22, true},
	{"hlt", code(0xf4), unix.SIGSEGV, privileged, 0, false},
	{"cli", code(0xfa), unix.SIGSEGV, privileged, 0, false},
	{"out", code(0xe6, 0x80), unix.SIGSEGV, privileged, 0, false},
	{"rdmsr", code(0x0f, 0x32), unix.SIGSEGV, privileged, 0, false},
	{"mov cr3", code(0x0f, 0x20, 0xd8), unix.SIGSEGV, privileged, 0, false},
	{"int 0x81", code(0xcd, 0x81), unix.SIGSEGV, privileged, 0, false},
	{"non-canonical load", load(1 << 63), unix.SIGSEGV, privileged, 0, false},
	// mov rsp, 1<<63; push rax
	{"non-canonical push", code(append(mov(rsp, 1<<63), 0x50)...), unix.SIGBUS, "SIGBUS: bus error", 10, false},
	{"load null", load(0), unix.SIGSEGV, memory + "0x0", 0, false},
	{"load 0xffff", load(0xffff), unix.SIGSEGV, memory + "0xffff", 0, false},
	{"load past memory", load(end), unix.SIGSEGV, memory + "0x200000", 0, false},
	{"load high", load(taskEnd - 1), unix.SIGSEGV, memory + "0x7fffffffefff", 0, false},
	{"load kernel", load(0xffffffff81000000), unix.SIGSEGV, memory + "0xffffffff81000000", 0, false},
	{"store null", store(0), unix.SIGSEGV, memory + "0x0", 0, false},
	{"store text", store(text), unix.SIGSEGV, memory + "0x100000", 0, false},
	{"store rodata", store(rodata), unix.SIGSEGV, memory + "0x101000", 0, false},
	{"store stub", store(stubBase), unix.SIGSEGV, memory + "0x10000", 0, false},
	{"execute null", jump(0), unix.SIGSEGV, "SIGSEGV: memory fault", 0, true},
	{"execute rodata", jump(rodata), unix.SIGSEGV, memory + "0x101000", rodata, false},
	{"execute data", jump(guests.Scratch), unix.SIGSEGV, memory + "0x142000", guests.Scratch, false},
	{"execute heap", jump(heap), unix.SIGSEGV, memory + "0x152000", heap, false},
	{"execute stack", jump(end - 16), unix.SIGSEGV, memory + "0x1ffff0", end - 16, false},
	{"execute boot info", jump(bootBase), unix.SIGSEGV, memory + "0x11000", bootBase, false},
	{"execute line", jump(lineBase), unix.SIGSEGV, memory + "0x17000", lineBase, false},
	{"execute signal stack", jump(stackBase + 0x100), unix.SIGSEGV, memory + "0x18100", stackBase + 0x100, false},
	{"execute set-up area", jump(planBase), unix.SIGSEGV, memory + "0x30000", planBase, false},
	{"getpid", syscall1(39), unix.SIGSYS, "SIGSYS: forbidden system call getpid; rax 0x27" + arguments, 2, false},
	{"read", syscall1(0), unix.SIGSYS, "SIGSYS: forbidden system call read; rax 0x0" + arguments, 2, false},
	{"rt_sigreturn", syscall1(15), unix.SIGSYS, "SIGSYS: forbidden system call rt_sigreturn; rax 0xf" + arguments, 2, false},
	{"call between names", syscall1(400), unix.SIGSYS, "SIGSYS: forbidden system call unknown; rax 0x190" + arguments, 2, false},
	{"call past names", syscall1(9999), unix.SIGSYS, "SIGSYS: forbidden system call unknown; rax 0x270f" + arguments, 2, false},
	{"largest call", syscall1(0x3fffffff), unix.SIGSYS, "SIGSYS: forbidden system call unknown; rax 0x3fffffff" + arguments, 2, false},
	{"negative call", syscall1(0x80000027), unix.SIGSYS, "SIGSYS: forbidden system call unknown; rax 0x80000027" + arguments, 2, false},
	{"upper half of rax", syscall1(7<<32 | 39), unix.SIGSYS, "SIGSYS: forbidden system call getpid; rax 0x27" + arguments, 2, false},
}

func TestFault(t *testing.T) {
	for _, f := range guestFaults {
		t.Run(f.name, func(t *testing.T) {
			var ip uint64
			u := probe(t, func(p *guests.Probe) {
				step := f.step(p)
				ip = f.ip
				if ip < 0x100 && step.Code.N != 0 {
					ip += step.Code.N
				}
				p.Do(step, p.Puts(alive))
			})
			line := "gocat: guest killed by " + f.line
			if f.addr {
				line += fmt.Sprintf(" at address %#x", ip)
			}
			line += fmt.Sprintf("; rip %#x\n", ip)
			status := 128 + int(f.signal)
			check(t, u.run(t), status, "", line)
			if len(line) > lineSize {
				t.Errorf("a line of %d bytes", len(line))
			}

			u.QuietFaults = true
			check(t, u.run(t), status, "", "")

			u.QuietFaults = false
			check(t, u.run(t, testhost.Null(t), testhost.Memfd(t), nil), status, "", "")
		})
	}
}

// TestForeignCalls has calls of other interfaces, and numbers that are no call's.
func TestForeignCalls(t *testing.T) {
	for name, c := range map[string]struct {
		step func(*guests.Probe) guests.Step
		line string
	}{
		"int 0x80 exit":   {func(p *guests.Probe) guests.Step { return p.Int80(1) }, "of the i386 interface; rax 0x1 "},
		"int 0x80 getpid": {func(p *guests.Probe) guests.Step { return p.Int80(20) }, "of the i386 interface; rax 0x14 "},
		"int 0x80 none":   {func(p *guests.Probe) guests.Step { return p.Int80(1<<32 - 1) }, "of the i386 interface; rax 0xffffffff "},
		"x32 write":       {syscall1(0x40000001), "of the x32 interface; rax 0x40000001 "},
		"x32 getpid":      {syscall1(0x40000000 | 39), "of the x32 interface; rax 0x40000027 "},
		"x32 last":        {syscall1(0x7fffffff), "of the x32 interface; rax 0x7fffffff "},
		"minus one":       {syscall1(^uint64(0)), "unknown; rax 0xffffffff "},
		"sign bit":        {syscall1(1 << 31), "unknown; rax 0x80000000 "},
		"all but x32":     {syscall1(0xbfffffff), "unknown; rax 0xbfffffff "},
	} {
		t.Run(name, func(t *testing.T) {
			u := probe(t, func(p *guests.Probe) { p.Do(c.step(p), p.Puts(alive)) })
			r := u.run(t)
			if r.Status != 159 || r.Stdout != "" || !strings.HasPrefix(r.Stderr, "gocat: guest killed by SIGSYS: forbidden system call "+c.line) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("%+v", r)
			}
			u.QuietFaults = true
			check(t, u.run(t), 159, "", "")
		})
	}
}

// TestTexts has a guest that would rewrite the reporter's texts.
func TestTexts(t *testing.T) {
	for addr := range uint64(len(allTexts())) {
		if addr%1024 != 0 {
			continue
		}
		u := probe(t, func(p *guests.Probe) { p.Do(store(textsBase+addr)(p), p.Puts(alive)) })
		if r := u.run(t); r.Status != 139 || r.Stdout != "" {
			t.Errorf("store at %#x: status %d, stdout %q", textsBase+addr, r.Status, r.Stdout)
		}
	}
}

// TestReporterPipe has a guest whose standard error nobody reads any more.
func TestReporterPipe(t *testing.T) {
	r, w := testhost.Pipe(t)
	r.Close()
	u := probe(t, func(p *guests.Probe) { p.Do(syscall1(39)(p), p.Puts(alive)) })
	// SIGPIPE is blocked in the reporter.
	check(t, u.run(t, testhost.Null(t), testhost.Memfd(t), w), 159, "", "")
}

// TestExecHeap has the one way to make code at run time.
func TestExecHeap(t *testing.T) {
	for _, at := range []uint64{heap, heap + 0x5000, end - 64} {
		u := probe(t, func(p *guests.Probe) {
			p.Do(p.Store8(guests.N(at), guests.N(0xc3)), p.Execute(guests.N(at)), p.Exit(guests.N(5)))
		})
		u.ExecHeap = true
		check(t, u.run(t), 5, "", "")
		u.ExecHeap, u.QuietFaults = false, true
		check(t, u.run(t), 139, "", "")
	}
	for _, at := range []uint64{guests.Scratch, lineBase, bootBase, stackBase, rodata, planBase} {
		u := probe(t, func(p *guests.Probe) { p.Do(p.Execute(guests.N(at)), p.Exit(guests.N(5))) })
		u.ExecHeap, u.QuietFaults = true, true
		check(t, u.run(t), 139, "", "")
	}
}

// TestStandardErrorIsNotTheGuests has a guest that prints where only the
// reporter may.
func TestStandardErrorIsNotTheGuests(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		u := probe(t, func(p *guests.Probe) {
			p.Do(p.Syscall(unix.SYS_WRITE, guests.N(2), guests.N(lineBase), guests.N(1)), p.Puts(alive))
		})
		u.QuietFaults = quiet
		if r := u.run(t); r.Status != 159 || r.Stdout != "" {
			t.Errorf("status %d, stdout %q, stderr %q", r.Status, r.Stdout, r.Stderr)
		}
	}
}
