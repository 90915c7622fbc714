package guests

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// runProbe runs p under Solo5's tender and returns what it printed and how it
// ended. Its standard input has five bytes.
func runProbe(t *testing.T, p *Probe, target image.Target, options ...string) (out, status string) {
	t.Helper()
	img, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.Parse(strings.NewReader(string(img))); err != nil {
		t.Fatal(err)
	}
	cmd := solo5(t, target, img, options)
	r, w, err := os.Pipe() // filled before the guest looks
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString("input")
	w.Close()
	stderr := new(strings.Builder)
	cmd.Stdin, cmd.Stderr = r, stderr
	b, _ := cmd.Output()
	skipRefused(t, stderr.String())
	return string(b) + stderr.String(), strings.TrimSuffix(cmd.ProcessState.String(), " (core dumped)")
}

func eachTarget(t *testing.T, f func(t *testing.T, target image.Target)) {
	for _, target := range []image.Target{image.SPT, image.HVT} {
		t.Run(target.String(), func(t *testing.T) { f(t, target) })
	}
}

const memory = 512 * image.MB // Solo5's tenders' default

func TestProbeSteps(t *testing.T) {
	eachTarget(t, func(t *testing.T, target image.Target) {
		p := NewProbe(target)
		v := p.Var()
		p.Do(
			p.Puts("hello\n"),
			p.Move(p.Entry(EntrySP)).Equals(N(memory-8), 2),
			p.Move(p.Entry(EntryDI)).Equals(BootAddress(), 3),
			p.Move(Boot(0)).Equals(N(memory), 4),
			p.Store64(N(v), N(0x1122334455667788)),
			p.Load8(N(v)).Equals(N(0x88), 5),
			p.Store8(N(v), N(0x99)),
			p.Move(At(v)).Equals(N(0x1122334455667799), 6),
			p.Move(At32(v).Plus(1)).Equals(N(0x5566779a), 7),
			p.Move(At(Scratch)).Equals(N(0), 8),
			// MOVQ DI, AX; NOTQ AX; RET
			Step{Code: N(p.Code([]byte{0x48, 0x89, 0xf8, 0x48, 0xf7, 0xd0, 0xc3})), DI: N(5), Save: v},
			p.Move(At(v)).Equals(N(^uint64(5)), 9),
			p.Move(At(p.Data([]byte("constant")))).Differs(N(0), 10),
			// A step that leaves no register as it was: XORL of all, PUSHQ and
			// JMP in place of RET.
			Step{Code: N(p.Code([]byte{
				0x58, 0x50, 0x50, // POPQ AX; PUSHQ AX; PUSHQ AX
				0x31, 0xdb, 0x31, 0xed, 0x45, 0x31, 0xf6, 0x45, 0x31, 0xff, // BX, BP, R14, R15
				0xff, 0xe0, // JMP AX
			}))},
		)
		p.Sweep(0x1000, 0x4800, 0x1000, func(a Value) []Step {
			return []Step{p.Store64(N(v), a), p.Move(a).Differs(N(0x5000), 11)}
		})
		p.Do(
			p.Move(At(v)).Equals(N(0x4000), 12),
			p.Exit(N(77)),
			p.Puts("not reached\n"),
		)
		if out, status := runProbe(t, p, target); out != "hello\n" || status != "exit status 77" {
			t.Errorf("%s, printed %q", status, out)
		}
	})
}

func TestProbeReports(t *testing.T) {
	eachTarget(t, func(t *testing.T, target image.Target) {
		p := NewProbe(target)
		p.Do(p.Move(N(1)).Equals(N(1), 2), p.Move(N(0xabc)).Equals(N(0xdef), 42))
		out, status := runProbe(t, p, target)
		if out != "probe: step 1: got 0xabc, want 0xdef\n" || status != "exit status 42" {
			t.Errorf("%s, printed %q", status, out)
		}
		p = NewProbe(target)
		if out, status := runProbe(t, p, target); out != "" || status != "exit status 0" {
			t.Errorf("no steps: %s, printed %q", status, out)
		}
	})
}

// TestProbeSPT tries what a guest may and may not do under solo5-spt.
func TestProbeSPT(t *testing.T) {
	const (
		killed  = "signal: bad system call"
		faulted = "signal: segmentation fault"
		x32     = 0x40000000
	)
	stdin := image.Entry{Name: "stdin", Type: image.Net}
	for _, c := range []struct {
		name string
		step func(p *Probe) Step
		want string
	}{
		{"write bad address", func(p *Probe) Step {
			return p.Syscall(unix.SYS_WRITE, N(1), N(8), N(1)).Equals(Errno(uint64(unix.EFAULT)), 2)
		}, "exit status 0"},
		{"read device", func(p *Probe) Step {
			return p.Syscall(unix.SYS_READ, N(0), N(Scratch), N(100)).Equals(N(5), 2)
		}, "exit status 0"},
		{"epoll", func(p *Probe) Step {
			return p.Syscall(unix.SYS_EPOLL_PWAIT, Boot32(32), N(Scratch), N(1), N(0)).Equals(N(1), 2)
		}, "exit status 0"},
		{"getpid", func(p *Probe) Step { return p.Syscall(unix.SYS_GETPID) }, killed},
		{"write x32", func(p *Probe) Step { return p.Syscall(x32|unix.SYS_WRITE, N(1), N(Scratch), N(0)) }, killed},
		{"write stderr", func(p *Probe) Step { return p.Syscall(unix.SYS_WRITE, N(2), N(Scratch), N(0)) }, killed},
		{"int80 getpid", func(p *Probe) Step { return p.Int80(20) }, killed},
		{"int80 exit", func(p *Probe) Step { return p.Int80(1, N(3)) }, killed},
		{"load null", func(p *Probe) Step { return p.Load8(N(0)) }, faulted},
		{"store text", func(p *Probe) Step { return p.Store8(N(image.MinAddr), N(0)) }, faulted},
		{"execute data", func(p *Probe) Step { return p.Execute(N(Scratch)) }, faulted},
		{"execute rodata", func(p *Probe) Step { return p.Execute(N(p.Data([]byte{0xc3}))) }, faulted},
		{"execute null", func(p *Probe) Step { return p.Execute(N(0)) }, faulted},
		{"port", func(p *Probe) Step { return p.Out32(N(hvtPort+1), N(0)) }, faulted},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewProbe(image.SPT, stdin)
			p.Do(c.step(p))
			out, status := runProbe(t, p, image.SPT, "--net:stdin=@0")
			if status != c.want || out != "" {
				t.Errorf("%s, want %s; printed %q", status, c.want, out)
			}
		})
	}
}

// TestProbeHVT tries what a guest may and may not do under solo5-hvt.
func TestProbeHVT(t *testing.T) {
	for _, c := range []struct {
		name string
		add  func(p *Probe)
		want string // end of what the tender prints; "" when the guest exits with 0
	}{
		{"walltime", func(p *Probe) {
			p.Hypercall(1, Scratch)
			p.Do(p.Move(At(Scratch)).Differs(N(0), 2))
		}, ""},
		{"net read of no device", func(p *Probe) {
			p.Hypercall(hvtCallNetRead, Scratch, N(9), N(Scratch+64), N(10), N(0))
			p.Do(p.Move(At32(Scratch+24)).Equals(N(2), 2))
		}, ""},
		{"other port", func(p *Probe) { p.Do(p.Out32(N(0x80), N(0))) }, "Invalid guest port access: port=0x80"},
		{"8 bits", func(p *Probe) { p.Do(p.Out8(N(hvtPort+1), N(Scratch))) }, "Invalid guest port access: port=0x501"},
		{"16 bits", func(p *Probe) { p.Do(p.Out16(N(hvtPort+1), N(Scratch))) }, "Invalid guest port access: port=0x501"},
		{"in", func(p *Probe) { p.Do(p.In32(N(hvtPort + 1))) }, "Invalid guest port access: port=0x501"},
		{"struct past memory", func(p *Probe) { p.Do(p.Out32(N(hvtPort+1), N(memory-4))) }, "gpa=0x1ffffffc, sz=8"},
		{"data past memory", func(p *Probe) { p.Hypercall(hvtCallPuts, Scratch, N(memory), N(1)) }, "gpa=0x20000000, sz=1"},
		{"halt with a bad cookie", func(p *Probe) { p.Hypercall(hvtCallHalt, Scratch, N(^uint64(0)), N(0)) }, "gpa=0xffffffffffffffff, sz=512"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewProbe(image.HVT, image.Entry{Name: "stdin", Type: image.Net})
			c.add(p)
			out, status := runProbe(t, p, image.HVT, "--net:stdin=@0")
			want := "exit status 0"
			if c.want != "" {
				want = "exit status 1"
			}
			if status != want || !strings.HasSuffix(strings.TrimSuffix(out, "\n"), c.want) {
				t.Errorf("%s, want %s; printed %q, want %q", status, want, out, c.want)
			}
		})
	}
}

func TestProbeTooLarge(t *testing.T) {
	p := NewProbe(image.SPT)
	p.Data(make([]byte, probeBSS-linkBase))
	if b, err := p.Image(); err == nil {
		t.Errorf("too much data: %d bytes, want an error", len(b))
	}
	p = NewProbe(image.SPT)
	p.Code(make([]byte, linkBase-textBase))
	if b, err := p.Image(); err == nil {
		t.Errorf("too much code: %d bytes, want an error", len(b))
	}
	if b, err := NewProbe(3).Image(); err == nil {
		t.Errorf("unknown target: %d bytes, want an error", len(b))
	}
}
