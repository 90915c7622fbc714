package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// What the filter forbids kills under a trace as well, and the call is shown:
// whether the fault reporter reports it or the kernel kills immediately.
func TestTraceForbidden(t *testing.T) {
	forbidden := exiting(0)
	forbidden.Segments[0].Data = []byte{0xb8, 39, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05} // getpid(7)
	int80 := exiting(0)
	int80.Segments[0].Data = []byte{0xb8, 20, 0, 0, 0, 0xcd, 0x80} // mov $20,%eax; int $0x80
	x32 := exiting(0)
	x32.Segments[0].Data = []byte{0xb8, 0, 0, 0, 0x40, 0x0f, 0x05}
	// By the stub's own instruction, which is no way past the trace.
	stub := exiting(0)
	stub.Segments[0].Data = []byte{0xb8, 39, 0, 0, 0, 0xb9, 0, 0, 1, 0, 0xff, 0xe1} // mov $39,%eax; mov $0x10000,%ecx; jmp *%rcx
	fault := exiting(0)
	fault.Segments[0].Data = []byte{0x31, 0xc0, 0xff, 0x20} // xor %eax,%eax; jmp *(%rax)
	for _, test := range []struct {
		name   string
		spec   image.Spec
		args   []string
		status int
		lines  []string
	}{
		{"reported", forbidden, nil, 159, []string{"getpid(0x7) = forbidden", "signal SIGSYS", "write(standard error, ", "getppid(0x2, ", "killed by SIGSYS, status 159"}},
		{"quiet", forbidden, []string{"--quiet-faults"}, 159, []string{"getpid(0x7) = forbidden", "killed by SIGSYS, status 159"}},
		{"32-bit", int80, nil, 159, []string{"32-bit call 20(0x0, 0x0, 0x0, 0x0, 0x11000) = forbidden", "killed by SIGSYS"}},
		{"x32", x32, nil, 159, []string{" call 1073741824(0x11000) = forbidden", "killed by SIGSYS"}},
		{"stub", stub, nil, 159, []string{"getpid(0x11000) = forbidden  <gocat's own code>", "killed by SIGSYS"}},
		{"fault", fault, nil, 139, []string{"signal SIGSEGV, at address 0x0", "write(standard error, ", "killed by SIGSEGV, status 139"}},
		{"status", exiting(63), nil, 63, []string{"exit_group(status 63)", "exited with status 63"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace")
			kernel := kernel(t, test.spec)
			r := gocat(t, append(append([]string{"trace", "-o", path}, test.args...), kernel)...)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			plain := gocat(t, append(append([]string{"run"}, test.args...), kernel)...)
			if r.status != test.status || r != plain {
				t.Errorf("%+v, and without a trace %+v", r, plain)
			}
			wantLines(t, string(b), test.lines...)
		})
	}
}

// Not one of 100000 calls is lost.
func TestTraceNothingLost(t *testing.T) {
	testhost.Slow(t)
	const calls = 100000
	word := binary.LittleEndian.AppendUint32
	backends(t, func(t *testing.T, backend string) {
		// mov $228,%eax; mov $1,%edi; mov $Scratch,%esi; syscall
		target, line := image.SPT, " clock_gettime(monotonic) = OK, "
		body := append(word([]byte{0xb8, 228, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe}, guests.Scratch), 0x0f, 0x05)
		if backend == "hvt" {
			// mov $Scratch,%eax; mov $0x501,%dx; out %eax,(%dx)
			target, line = image.HVT, " walltime() = OK, "
			body = append(word([]byte{0xb8}, guests.Scratch), 0x66, 0xba, 0x01, 0x05, 0xef)
		}
		code := append(word([]byte{0x53, 0xbb}, calls), body...)              // push %rbx; mov $calls,%ebx; body
		code = append(code, 0xff, 0xcb, 0x75, byte(-len(body)-4), 0x5b, 0xc3) // dec %ebx; jnz body; pop %rbx; ret
		path := probe(t, target, func(p *guests.Probe) { p.Do(p.Execute(guests.N(p.Code(code)))) })
		r := gocat(t, "trace", path)
		if got := strings.Count(r.stderr, line); r.status != 0 || got != calls || strings.Count(r.stderr, "\n") != calls+2 {
			t.Errorf("status %d, %d lines, %d calls, want %d", r.status, strings.Count(r.stderr, "\n"), got, calls)
		}
	})
}

// A hostile hvt guest: handles that are no device's, memory that is not its own,
// console output that looks like a trace.
func TestTraceHostile(t *testing.T) {
	needKVM(t)
	const forged = "  0.000001 halt(status 0)\n"
	path := probe(t, image.HVT, func(p *guests.Probe) {
		p.Do(p.Puts(forged))
		for _, handle := range []uint64{0, 2, 63, 64, 1 << 63} {
			p.Hypercall(7, guests.Scratch, guests.N(handle), guests.N(guests.Scratch), guests.N(16))
		}
		p.Hypercall(5, guests.Scratch, guests.N(1), guests.N(1<<63), guests.N(guests.Scratch), guests.N(1<<63))
		p.Hypercall(7, guests.Scratch, guests.N(1), guests.N(1<<40), guests.N(^uint64(0)))
	}, image.Entry{Name: "console", Type: image.Net})
	out := filepath.Join(t.TempDir(), "trace")
	r := gocat(t, "trace", "-o", out, "--net:console=@0", path)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != 1 || r.stdout != forged || !strings.Contains(r.stderr, "Invalid guest access") {
		t.Errorf("%+v", r)
	}
	if strings.Contains(string(b), "halt") {
		t.Errorf("forged:\n%s", b)
	}
	wantLines(t, string(b), "puts(26 bytes)", "net_read(handle 0, 16 bytes) = EINVAL", "net_read(handle 2, ", "net_read(handle 63, ", "net_read(handle 64, ",
		"net_read(handle 9223372036854775808, 16 bytes) = EINVAL", "block_read(console, 9223372036854775808 bytes, at 9223372036854775808) = EINVAL",
		"net_read(console, 18446744073709551615 bytes) = guest ended", "exited with status 1")
}

// A hostile spt guest: pointers to nowhere, where the trace looks as well, times
// out of range, and a call by way of the stub's instruction, after which it dies.
func TestTraceHostileSPT(t *testing.T) {
	nowhere, epoll, timer := guests.N(^uint64(7)), guests.Boot32(32), guests.Boot32(36)
	path := probe(t, image.SPT, func(p *guests.Probe) {
		p.Do(p.Syscall(unix.SYS_TIMERFD_SETTIME, timer, guests.N(1), nowhere, guests.N(0)).Equals(guests.Errno(uint64(unix.EFAULT)), 2),
			p.Store64(guests.N(guests.Scratch+16), guests.N(1<<63-1)), p.Store64(guests.N(guests.Scratch+24), guests.N(999999999)),
			p.Syscall(unix.SYS_TIMERFD_SETTIME, timer, guests.N(1), guests.N(guests.Scratch), guests.N(0)).Equals(guests.N(0), 3),
			p.Syscall(unix.SYS_EPOLL_PWAIT, epoll, nowhere, guests.N(1<<31-1), guests.N(0), guests.N(0)).Differs(guests.N(0), 4),
			p.Syscall(unix.SYS_EPOLL_PWAIT, epoll, guests.N(guests.Scratch), guests.N(1000), guests.N(1), guests.N(0)).Equals(guests.N(1), 5),
			p.Syscall(unix.SYS_CLOCK_GETTIME, guests.N(1), nowhere).Equals(guests.Errno(uint64(unix.EFAULT)), 6),
			p.Syscall(unix.SYS_WRITE, guests.N(1), nowhere, guests.N(^uint64(0))).Equals(guests.Errno(uint64(unix.EFAULT)), 7))
		read := p.Syscall(unix.SYS_READ, guests.N(0), guests.N(guests.Scratch), guests.N(5))
		read.Code, read.AX = guests.N(0x10000), guests.N(unix.SYS_READ)
		p.Do(read)
	}, image.Entry{Name: "in", Type: image.Net})
	r := gocat(t, "trace", "--quiet-faults", "--net:in=@0", path)
	if r.status != 139 || r.stdout != "" {
		t.Errorf("status %d, %q, %s", r.status, r.stdout, r.stderr)
	}
	wantLines(t, r.stderr, "0xfffffffffffffff8) = EFAULT", "timerfd_settime(in ", "epoll_pwait(timeout 0s) = E", "epoll_pwait(timeout 1ms) = OK, in ready",
		"clock_gettime(monotonic) = EFAULT", "write(standard output, 18446744073709551615 bytes) = EFAULT",
		"read(in, 5 bytes) = OK, 0 bytes  <gocat's own code>", "killed by SIGSEGV, status 139")
}

// What a guest does before its first instruction is gocat's, and shown on request.
func TestTraceSetup(t *testing.T) {
	path := kernel(t, exiting(5))
	r := gocat(t, "trace", path)
	if strings.Count(r.stderr, "\n") != 2 {
		t.Errorf("%s", r.stderr)
	}
	wantLines(t, r.stderr, "exit_group(status 5)", "exited with status 5")
	r = gocat(t, "trace", "--setup", path)
	wantLines(t, r.stderr, "setup mmap(", "setup munmap(", "setup prctl(", "setup seccomp(0x1, 0x0, ", "setup getpid() = error 4095", "exit_group(status 5)")
	_, after, _ := strings.Cut(r.stderr, "setup getpid() = error 4095")
	if r.status != 5 || strings.Contains(after, "setup") {
		t.Errorf("status %d: %s", r.status, r.stderr)
	}
}

// Solo5's own guests have symbols.
func TestTraceSymbols(t *testing.T) {
	tests := filepath.Join(testhost.Solo5(t), "tests")
	backends(t, func(t *testing.T, backend string) {
		out := filepath.Join(t.TempDir(), "trace")
		r := gocat(t, "trace", "-o", out, filepath.Join(tests, "test_hello", "test_hello."+backend), "Hello_Solo5")
		b, err := os.ReadFile(out)
		if err != nil || r.status != 0 || !strings.Contains(r.stdout, "SUCCESS") {
			t.Fatalf("%v, %+v", err, r)
		}
		exit := map[string]string{"spt": "exit_group(status 0)  <", "hvt": "halt(status 0)  <platform_exit+0x"}[backend]
		wantLines(t, string(b), "24 bytes) = OK, 24 bytes  <platform_puts+0x", exit)
	})
}
