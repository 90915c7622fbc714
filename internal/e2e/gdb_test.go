package e2e

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/arch/x86/x86asm"
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/ptrace"
	"gocat/internal/testhost"
)

// debugged are the kinds of guests that a debugger looks into.
var debugged = []struct {
	name   string
	target image.Target
	args   []string
}{
	{"spt", image.SPT, nil},
	{"spt isolated", image.SPT, []string{"--isolate=full"}},
	{"hvt", image.HVT, nil},
	{"hvt level 0", image.HVT, []string{"--cpl=0"}},
}

// needGDB skips t where there is no GDB or no C compiler.
func needGDB(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"gdb", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			testhost.Skip(t, "no "+tool)
		}
	}
}

// cGuest builds testdata/debug/guest.c and returns the image's path.
func cGuest(t *testing.T, target image.Target) string {
	t.Helper()
	needGDB(t)
	path, err := cGuests[target]()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// cGuests compile it, once for each target.
var cGuests = map[image.Target]func() (string, error){
	image.SPT: sync.OnceValues(func() (string, error) { return compileGuest(image.SPT) }),
	image.HVT: sync.OnceValues(func() (string, error) { return compileGuest(image.HVT) }),
}

func compileGuest(target image.Target) (string, error) {
	path := filepath.Join(filepath.Dir(gocat), "guest."+target.String())
	out, err := exec.Command("gcc", "-D"+strings.ToUpper(target.String()), "-g", "-O1", "-fno-omit-frame-pointer", "-fno-stack-protector",
		"-ffreestanding", "-nostdlib", "-static", "-fno-pic", "-no-pie", "-fcf-protection=none",
		"-Wl,--build-id=none,-z,noexecstack,-z,separate-code,-z,max-page-size=4096,-Ttext-segment=0x100000,-e,_start",
		"-o", path, "testdata/debug/guest.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return path, nil
}

// session is a guest that waits for a debugger, and the debugger's script.
type session struct {
	image  string
	socket string
	guest  *testhost.Process
	stdout *os.File
	stderr *os.File
}

// startDebugged starts the image under gocat run --gdb and waits until it listens.
func startDebugged(t *testing.T, path string, options []string, args ...string) *session {
	t.Helper()
	s := &session{image: path, socket: filepath.Join(t.TempDir(), "gdb"), stdout: testhost.Memfd(t), stderr: testhost.Memfd(t)}
	c := command(append(append(append([]string{"run", "--gdb=unix:" + s.socket, "--mem=16"}, options...), path), args...)...)
	c.Files = []*os.File{testhost.Null(t), s.stdout, s.stderr}
	s.guest = c.Start(t)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(testhost.Contents(t, s.stderr), "waits for") {
			return s
		}
		if !s.guest.Running() || time.Now().After(deadline) {
			t.Fatalf("no socket: %s", testhost.Contents(t, s.stderr))
		}
	}
}

// gdb carries out commands after attaching and returns what GDB printed.
func (s *session) gdb(t *testing.T, commands ...string) string {
	t.Helper()
	return s.run(t, append([]string{"target remote " + s.socket}, commands...)...)
}

// run has GDB carry out commands on the image and returns what it printed.
func (s *session) run(t *testing.T, commands ...string) string {
	t.Helper()
	args := []string{"-q", "-nx", "-batch", "-ex", "set confirm off", "-ex", "set pagination off", "-ex", "set width 0",
		"-ex", "set debuginfod enabled off", "-ex", "file " + s.image}
	for _, c := range commands {
		args = append(args, "-ex", c)
	}
	cmd := exec.Command("timeout", append([]string{"-k", "5", "120", "gdb"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("gdb: %v\n%s", err, out)
	}
	return string(out)
}

// wantMatch fails t unless out has all the patterns, in order.
func wantMatch(t *testing.T, out string, patterns ...string) {
	t.Helper()
	rest := out
	for _, p := range patterns {
		at := regexp.MustCompile(p).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("no %q where it should be in\n%s", p, out)
		}
		rest = rest[at[1]:]
	}
}

// end waits for the guest and compares its end.
func (s *session) end(t *testing.T, status int, stdout string) {
	t.Helper()
	got := testhost.Status(s.guest.Wait())
	if out := testhost.Contents(t, s.stdout); got != status || out != stdout {
		t.Errorf("status %d, output %q; want %d and %q; standard error %q", got, out, status, stdout, testhost.Contents(t, s.stderr))
	}
}

// eachDebugged runs f for each kind of guest.
func eachDebugged(t *testing.T, f func(t *testing.T, path string, options []string)) {
	for _, d := range debugged {
		t.Run(d.name, func(t *testing.T) {
			needKVM(t, d.target.String())
			f(t, cGuest(t, d.target), d.args)
		})
	}
}

// TestGDB has a session with all that a debugger is used for.
func TestGDB(t *testing.T) {
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		s := startDebugged(t, path, options, "x")
		out := s.gdb(t, "break leaf", "continue", "backtrace", "info registers rip", "print n", "finish", "print counter",
			"tbreak leaf if n == 5", "delete 1", "continue", "print n", "watch counter", "continue", "delete", "print scale",
			"set var counter = counter + 45", "set var $xmm1.uint128 = 5", "print $xmm1.uint128", "x/2i $pc", "stepi", "info threads", "continue")
		wantMatch(t, out, `Breakpoint 1, leaf \(n=(?:n@entry=)?1\)`, `#0 .*leaf \(n=(?:n@entry=)?1\)`, `#1 .*middle \(n=`, `#2 .*work \(`, `#3 .*begin \(`,
			`<leaf>`, `= 1\n`, `= 1\n`, `, leaf \(n=(?:n@entry=)?5\)`, `= 5\n`, `Hardware watchpoint`, `Old value = 10\n`, `New value = 15\n`,
			`= 1\.5\n`, `= 5\n`, `=> 0x`, `Thread 1`, `exited with code 07`)
		s.end(t, 7, "counted\n")
		if got := testhost.Contents(t, s.stderr); !strings.Contains(got, "whoever connects to "+s.socket+" owns the guest") || strings.Count(got, "\n") != 1 {
			t.Errorf("standard error is %q", got)
		}
	})
}

// TestGDBInterrupt stops a guest that spins, as ^C does, and changes what it looks
// at.
func TestGDBInterrupt(t *testing.T) {
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		s := startDebugged(t, path, options, "s")
		c := dial(t, s.socket)
		c.ask(t, "c") // acknowledged, not answered
		waitFor(t, "the guest's output", func() bool { return testhost.Contents(t, s.stdout) == "counted\n" })
		c.write("\x03")
		if got := c.answer(t); got != "T02thread:1;" {
			t.Errorf("^C is answered %q", got)
		}
		c.Close()
		out := s.gdb(t, "backtrace", "set var stop = 1", "detach")
		wantMatch(t, out, `spin \(\)`, `work \(`, `detached`)
		s.end(t, 0, "counted\nstopped\n")
	})
}

// TestGDBFault looks at a fault, before and after which the guest is what it was.
func TestGDBFault(t *testing.T) {
	for _, kind := range debugged {
		if slices.Contains(kind.args, "--cpl=0") {
			continue // a fault without a handler of the guest's own ends the machine at once
		}
		t.Run(kind.name, func(t *testing.T) {
			needKVM(t, kind.target.String())
			// Under spt the report of the fault is a second one.
			status, end, commands := 139, `terminated with signal SIGSEGV`, []string{"continue", "continue"}
			if kind.target == image.HVT {
				status, end, commands = 1, `exited with code 01`, commands[:1]
			}
			s := startDebugged(t, cGuest(t, kind.target), kind.args, "f")
			out := s.gdb(t, append([]string{"continue", "backtrace", "print where", "print *where"}, commands...)...)
			wantMatch(t, out, `signal SIGSEGV`, `fault \(where=`, `work \(`, `\(volatile int \*\) 0x8`, `Cannot access memory at address 0x8`, end)
			s.end(t, status, "counted\n")
		})
	}
}

// TestGDBMemory has a debugger write the guest's code, which the guest itself may
// not, and neither read nor write what is not the guest's.
func TestGDBMemory(t *testing.T) {
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		s := startDebugged(t, path, options, "x")
		d := dial(t, s.socket)
		ask := func(question, want string) {
			t.Helper()
			d.ask(t, question)
			if got := d.answer(t); got != want {
				t.Errorf("%s is answered %q, want %q", question, got, want)
			}
		}
		entry := codeOf(t, path).entry
		read := fmt.Sprintf("m%x,10", entry)
		d.ask(t, read)
		code := d.answer(t)
		ask(fmt.Sprintf("M%x,10:%s", entry, strings.Repeat("90", 16)), "OK")
		ask(read, strings.Repeat("90", 16))
		ask(fmt.Sprintf("M%x,10:%s", entry, code), "OK")
		ask(read, code)
		for _, addr := range []uint64{0, 8, 0x1000, 0xffff, 16 << 20, 1 << 31, 1 << 32, 1<<32 + 0x3000, 0x7f_c000_0000, 0x7f_c000_1000,
			1 << 46, 0x7fff_ffff_0000, 1 << 47, 1 << 63, 0xffff_8880_0000_0000, 0xffff_ffff_8100_0000, 0xffff_ffff_ff60_0000, ^uint64(0)} {
			ask(fmt.Sprintf("M%x,1:cc", addr), "E01")
			ask(fmt.Sprintf("X%x,1:c", addr), "E01")
			ask(fmt.Sprintf("Z0,%x,1", addr), "E01")
			if addr != 0xffff_ffff_ff60_0000 { // the vsyscall page, which every process may read
				ask(fmt.Sprintf("m%x,1", addr), "E01")
			}
		}
		ask(fmt.Sprintf("M%x,10:%s", 16<<20-8, strings.Repeat("00", 16)), "E01") // the end of memory
		ask(fmt.Sprintf("m%x,10", 16<<20-8), strings.Repeat("00", 8))
		ask("M7fffffff0000,0:", "OK")
		ask("D", "OK")
		s.end(t, 0, "counted\n")
	})
}

// TestGDBKill ends a guest, and leaves nothing.
func TestGDBKill(t *testing.T) {
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		s := startDebugged(t, path, options, "s")
		s.gdb(t, "tbreak spin", "continue", "kill")
		s.end(t, 128+int(unix.SIGKILL), "counted\n")

		// A signal ends a guest that nobody has connected to yet.
		s = startDebugged(t, path, options, "s")
		s.guest.Signal(unix.SIGTERM)
		s.end(t, 128+int(unix.SIGTERM), "")
	})
}

// TestGDBSteps compares the addresses of single steps with those that the processor
// goes through when the same guest, sealed, is stepped by this test, for spt; for
// hvt with where each instruction leads.
func TestGDBSteps(t *testing.T) {
	const steps = 150
	eachDebugged(t, func(t *testing.T, path string, options []string) {
		var want []uint64
		if strings.HasSuffix(path, ".spt") {
			want = steppedNatively(t, path, steps)
		}
		s := startDebugged(t, path, options, "x")
		d := dial(t, s.socket)
		code := codeOf(t, path)
		next := []uint64{code.entry}
		for n := range steps {
			rip := d.word(t, "p10")
			if want != nil {
				next = want[n : n+1]
			}
			if !slices.Contains(next, rip) {
				t.Fatalf("after %d steps at %#x, want one of %#x", n, rip, next)
			}
			next = code.after(t, rip, func() uint64 { return d.word(t, fmt.Sprintf("m%x,8", d.word(t, "p7"))) })
			d.ask(t, "vCont;s:1")
			if got := d.answer(t); got != "T05thread:1;" {
				t.Fatalf("step %d is answered %q", n, got)
			}
		}
		d.ask(t, "D")
		d.answer(t)
		s.end(t, 0, "counted\n")
	})
}

// word asks for a register or 8 bytes of memory.
func (d *debugger) word(t *testing.T, question string) uint64 {
	t.Helper()
	d.ask(t, question)
	b, err := hex.DecodeString(d.answer(t))
	if err != nil || len(b) != 8 {
		t.Fatalf("%s is answered %x, %v", question, b, err)
	}
	return binary.LittleEndian.Uint64(b)
}

// code is that of an image.
type code struct {
	entry, addr uint64
	text        []byte
}

func codeOf(t *testing.T, path string) code {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text")
	b, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	return code{f.Entry, text.Addr, b}
}

// after returns where the instruction at rip may lead; top returns the word that a
// RET would go to.
func (c code) after(t *testing.T, rip uint64, top func() uint64) []uint64 {
	t.Helper()
	in, err := x86asm.Decode(c.text[rip-c.addr:], 64)
	if err != nil {
		t.Fatalf("at %#x: %v", rip, err)
	}
	next := rip + uint64(in.Len)
	if in.Op == x86asm.RET {
		return []uint64{top()}
	}
	if to, ok := in.Args[0].(x86asm.Rel); ok {
		if in.Op == x86asm.JMP || in.Op == x86asm.CALL {
			return []uint64{next + uint64(int64(to))}
		}
		return []uint64{next, next + uint64(int64(to))}
	}
	return []uint64{next}
}

// steppedNatively returns the addresses of the first instructions of the guest,
// whose entry is the first.
func steppedNatively(t *testing.T, path string, n int) (rips []uint64) {
	t.Helper()
	sealed := filepath.Join(t.TempDir(), "sealed")
	if r := command("seal", "--isolate=none", "--mem=16", "-o", sealed, path, "x").Run(t); r.Status != 0 {
		t.Fatalf("%+v", r)
	}
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	runtime.LockOSThread() // which traces
	defer runtime.UnlockOSThread()
	pid, err := syscall.ForkExec(sealed, []string{sealed}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}})
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Wait4(pid, nil, 0, nil)
	defer syscall.Kill(pid, syscall.SIGKILL)
	stopped := func() (rip uint64) {
		var ws syscall.WaitStatus
		var regs syscall.PtraceRegs
		if _, err := syscall.Wait4(pid, &ws, 0, nil); err != nil || !ws.Stopped() {
			t.Fatalf("%v, status %#x", err, ws)
		}
		if err := syscall.PtraceGetRegs(pid, &regs); err != nil {
			t.Fatal(err)
		}
		return regs.Rip
	}
	stopped()
	// A breakpoint at the entry: gocat's own code comes before it.
	if err := ptrace.SetDebugRegister(pid, 0, file.Entry); err != nil {
		t.Fatal(err)
	}
	if err := ptrace.SetDebugRegister(pid, ptrace.DebugControl, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.PtraceCont(pid, 0); err != nil {
		t.Fatal(err)
	}
	rips = []uint64{stopped()}
	if rips[0] != file.Entry {
		t.Fatalf("stopped at %#x", rips[0])
	}
	if err := ptrace.SetDebugRegister(pid, ptrace.DebugControl, 0); err != nil {
		t.Fatal(err)
	}
	for len(rips) < n {
		if err := syscall.PtraceSingleStep(pid); err != nil {
			t.Fatal(err)
		}
		rips = append(rips, stopped())
	}
	return rips
}

// debugger is a connection of a test's own, for what GDB does not do.
type debugger struct{ net.Conn }

func dial(t *testing.T, socket string) *debugger {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	d := &debugger{c}
	d.ask(t, "QStartNoAckMode")
	d.answer(t)
	return d
}

func (d *debugger) write(s string) { d.Write([]byte(s)) }

// ask sends a packet.
func (d *debugger) ask(t *testing.T, data string) {
	t.Helper()
	sum := byte(0)
	for _, c := range []byte(data) {
		sum += c
	}
	d.write(fmt.Sprintf("$%s#%02x", data, sum))
}

// answer returns the next packet's contents.
func (d *debugger) answer(t *testing.T) string {
	t.Helper()
	s, in := "", false
	for b := make([]byte, 1); ; {
		if _, err := d.Read(b); err != nil {
			t.Fatal(err)
		}
		switch {
		case b[0] == '$':
			in = true
		case b[0] == '#':
			d.Read(make([]byte, 2))
			return s
		case in:
			s += string(b)
		}
	}
}

// waitFor waits for what ok reports.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// TestGDBRefused has places that cannot be listened at: one line says which and
// why, and no guest runs.
func TestGDBRefused(t *testing.T) {
	path := cGuest(t, image.SPT)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := "unix:" + filepath.Join(dir, strings.Repeat("a", 120))
	for at, want := range map[string]string{
		"nowhere": "want [HOST]:PORT", "unix:": "want [HOST]:PORT", ":99999": "invalid port",
		ln.Addr().String(): "address already in use", "unix:" + there: "there is a file of that name",
		"unix:" + dir + "/none/x": dir + "/none/x: no such file", long: "at most 107 bytes",
	} {
		r := command("run", "--gdb="+at, path, "x").Run(t)
		if r.Status != 125 || r.Stdout != "" || !strings.Contains(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: %+v; want %q", at, r, want)
		}
	}
}
