package command_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		code   []byte
		status int
	}{
		"0":         {exiting(t, 0), 0},
		"7":         {exiting(t, 7), 7},
		"fault":     {coded(t, []byte{0x31, 0xc0, 0x8a, 0x00}), 139},                     // xor %eax,%eax; mov (%rax),%al
		"forbidden": {coded(t, []byte{0xb8, unix.SYS_GETPID, 0, 0, 0, 0x0f, 0x05}), 159}, // mov $getpid,%eax; syscall
	} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t, test.code)
			if r := b.do("run", b.id); r.status != test.status {
				t.Errorf("status %d, want %d: %s", r.status, test.status, r.stderr)
			}
		})
	}
}

func TestStdio(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		b.spec.Process.Args = append(b.spec.Process.Args, "--solo5:quiet", "-l", "netif:quiet")
		b.save()
		data := string(testhost.Random(1 << 20))
		if r := b.with(strings.NewReader(data), "run", b.id); r.status != 0 || r.stdout != data {
			t.Errorf("status %d, %d bytes of %d: %s", r.status, len(r.stdout), len(data), r.stderr)
		}
	})
}

func TestLife(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		pidFile := filepath.Join(b.bundle, "pid")
		stdin, stdout := b.created("--pid-file", pidFile)
		s := b.state()
		pid, _ := os.ReadFile(pidFile)
		if string(s.Status) != "created" || strconv.Itoa(s.Pid) != string(pid) {
			t.Fatalf("%+v, pid file %q", s, pid)
		}
		wantError(t, b.do("create", b.id), "already exists")
		wantError(t, b.do("resume", b.id), "container not paused")
		b.must("start", b.id)
		b.await("running")
		wantError(t, b.do("start", b.id), "cannot start an already running container")
		wantError(t, b.do("delete", b.id), "is not stopped")
		if ps := b.must("ps", "--format", "json", b.id); strings.TrimSpace(ps) != fmt.Sprintf("[%d]", s.Pid) {
			t.Errorf("ps: %s", ps)
		}
		// The guest's command line is part of what it does when it has begun.
		for deadline := time.Now().Add(time.Minute); !strings.Contains(b.must("ps", b.id), "gocat"); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("ps: %s", b.must("ps", b.id))
			}
		}
		if !strings.Contains(b.must("ps", b.id), strconv.Itoa(s.Pid)) || !strings.Contains(b.must("list"), b.id) || strings.TrimSpace(b.must("list", "-q")) != b.id {
			t.Error("ps and list do not show it")
		}
		b.must("pause", b.id)
		if s := b.state(); s.Status != "paused" {
			t.Errorf("paused, it is %s", s.Status)
		}
		stdin.WriteString("while paused\n")
		time.Sleep(50 * time.Millisecond)
		if strings.Contains(testhost.Contents(t, stdout), "while paused") {
			t.Error("a paused guest copied its input")
		}
		b.must("resume", b.id)
		awaitOutput(t, stdout, "while paused")
		b.must("kill", b.id, "TERM")
		b.await("stopped")
		wantError(t, b.do("kill", b.id), "container not running")
		b.must("delete", b.id)
		wantError(t, b.do("state", b.id), "does not exist")
		b.nothingLeft()
	})
}

// awaitOutput waits for text in a file.
func awaitOutput(t testing.TB, f *os.File, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(testhost.Contents(t, f), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", text, testhost.Contents(t, f))
		}
	}
}

// wantError checks that a command failed with one line that has the text.
func wantError(t testing.TB, r result, text string) {
	t.Helper()
	if r.status != 1 || !strings.Contains(r.stderr, text) || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "gocat-oci: ") {
		t.Errorf("status %d, %q; want one line with %q", r.status, r.stderr, text)
	}
}

// TestNotStarted shows that a created container can be killed and deleted, and that
// one that waits tells so while many look.
func TestNotStarted(t *testing.T) {
	b := newBox(t, exiting(t, 0))
	b.created()
	for range 30 {
		if s := b.state(); s.Status != "created" {
			t.Fatalf("it is %s", s.Status)
		}
	}
	b.must("kill", b.id, "15")
	b.await("stopped")
	wantError(t, b.do("start", b.id), "cannot start a container that has stopped")
	b.must("delete", b.id)
}

// TestAskedEarly has guests asked to end before they have begun, when they have no
// handlers: as the first process of a namespace, which the kernel has no default
// actions for, and as another.
func TestAskedEarly(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		for _, first := range []bool{true, false} {
			for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
				b := newBox(t, cat(t, target))
				if !first {
					b.spec.Linux.Namespaces = slices.DeleteFunc(b.spec.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
				}
				b.save()
				adopt(t)
				b.created()
				pid := b.state().Pid
				if err := unix.Kill(pid, sig); err != nil {
					t.Fatal(err)
				}
				if s := b.state(); s.Status != "created" {
					t.Fatalf("%v before the start: it is %s", sig, s.Status)
				}
				b.must("start", b.id)
				if status, want := waitFor(t, pid), 128+int(sig); status != want {
					t.Errorf("first process %v: %v ends it with %d, want %d", first, sig, status, want)
				}
				b.must("delete", b.id)
			}
		}
	})
}

// TestSignalsOpen shows that a guest has no signals blocked, whatever its init had.
func TestSignalsOpen(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		stdin, stdout := b.created()
		pid := b.state().Pid
		b.must("start", b.id)
		stdin.WriteString("begun\n")
		awaitOutput(t, stdout, "begun")
		if status := string(mustRead(t, fmt.Sprintf("/proc/%d/status", pid))); !strings.Contains(status, "\nSigBlk:\t0000000000000000\n") {
			t.Errorf("signals are blocked: %s", status)
		}
	})
}

// adopt makes the test the parent of what the runtime leaves.
func adopt(t testing.TB) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
}

// waitFor returns how an adopted process ended, as a shell shows it.
func waitFor(t testing.TB, pid int) int {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		var ws unix.WaitStatus
		ended, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		switch {
		case err != nil && err != unix.EINTR:
			t.Fatal(err)
		case ended == pid && ws.Signaled():
			return 128 + int(ws.Signal())
		case ended == pid:
			return ws.ExitStatus()
		case time.Now().After(deadline):
			t.Fatalf("process %d does not end", pid)
		}
	}
}

func TestAbsent(t *testing.T) {
	b := newBox(t, nil)
	for _, verb := range []string{"start", "state", "kill", "delete", "pause", "resume", "ps", "update", "events"} {
		wantError(t, b.do(verb, "gone"), "container with id gone does not exist")
	}
	b.must("delete", "--force", "gone")
	wantError(t, b.do("state", "../x"), "invalid container id")
	wantError(t, b.do("exec", "gone", "sh"), "exec is not supported")
	wantError(t, b.do("checkpoint", "gone"), "checkpoint is not supported")
	wantError(t, b.do("strat", "gone"), "unknown command")

	log := filepath.Join(b.bundle, "log")
	b.do("--log", log, "--log-format", "json", "state", "gone")
	line, _ := os.ReadFile(log)
	var entry struct{ Level, Msg string }
	if err := json.Unmarshal(line, &entry); err != nil || entry.Level != "error" || !strings.Contains(entry.Msg, "does not exist") {
		t.Errorf("log: %s, %v", line, err)
	}
}

func TestTerminal(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		b.spec.Process.Terminal = true
		b.spec.Process.ConsoleSize = &specs.Box{Height: 33, Width: 77}
		b.save()
		path := filepath.Join(t.TempDir(), "console")
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		b.must("create", "--console-socket", path, b.id)
		c, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		master := receiveTerminal(t, c.(*net.UnixConn))
		defer master.Close()
		if size, err := unix.IoctlGetWinsize(int(master.Fd()), unix.TIOCGWINSZ); err != nil || size.Row != 33 || size.Col != 77 {
			t.Errorf("size %+v, %v", size, err)
		}
		b.must("start", b.id)
		master.WriteString("to the terminal\n")
		got, buffer := "", make([]byte, 4096)
		for strings.Count(got, "to the terminal") < 2 { // the echo, and the guest's
			n, err := master.Read(buffer)
			if err != nil {
				t.Fatalf("%v after %q", err, got)
			}
			got += string(buffer[:n])
		}
		master.Write([]byte{4}) // ^D
		b.await("stopped")
	})
}

func receiveTerminal(t testing.TB, c *net.UnixConn) *os.File {
	t.Helper()
	control := make([]byte, 64)
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 64), control)
	if err != nil {
		t.Fatal(err)
	}
	all, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(all) != 1 {
		t.Fatal(err, len(all))
	}
	fds, err := unix.ParseUnixRights(&all[0])
	if err != nil || len(fds) != 1 {
		t.Fatal(err, fds)
	}
	return os.NewFile(uintptr(fds[0]), "terminal")
}

func TestHooks(t *testing.T) {
	b := newBox(t, exiting(t, 0))
	record := filepath.Join(b.bundle, "record")
	b.write("record", nil)
	hook := func(kind string) []specs.Hook {
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + kind + " $X $(cat) >> " + record}, Env: []string{"X=" + kind, "PATH=/bin:/usr/bin"}}}
	}
	//lint:ignore SA1019 engines still use what the specification calls deprecated
	b.spec.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"), Poststart: hook("poststart"), Poststop: hook("poststop")}
	b.save()
	b.created()
	b.must("start", b.id)
	b.await("stopped")
	b.must("delete", b.id)
	lines := strings.Split(strings.TrimSpace(string(mustRead(t, record))), "\n")
	want := []string{"prestart", "createRuntime", "createContainer", "poststart", "poststop"}
	if len(lines) != len(want) {
		t.Fatalf("hooks: %q", lines)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]+" "+want[i]+" {") || !strings.Contains(line, b.id) {
			t.Errorf("hook %d: %q, want %s", i, line, want[i])
		}
	}

	failing := newBox(t, exiting(t, 0))
	failing.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no luck; exit 3"}}}}
	failing.save()
	wantError(t, failing.do("create", failing.id), "no luck")
	failing.nothingLeft()
	one := 1
	failing.spec.Hooks.CreateRuntime[0] = specs.Hook{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: &one}
	failing.save()
	wantError(t, failing.do("create", failing.id), "longer than its timeout")
}

// TestLateHooks has hooks fail that come after the start: one of the start ends the
// container, one of the end is a warning, and the next is run.
func TestLateHooks(t *testing.T) {
	no := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no luck; exit 3"}}
	b := newBox(t, cat(t, image.SPT))
	b.spec.Hooks = &specs.Hooks{Poststart: []specs.Hook{no}}
	b.save()
	b.created()
	wantError(t, b.do("start", b.id), "no luck")
	b.await("stopped")
	b.must("delete", b.id)

	record := filepath.Join(b.bundle, "record")
	yes := specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo run > " + record}}
	b.spec.Hooks = &specs.Hooks{Poststop: []specs.Hook{no, yes}}
	b.save()
	b.created()
	if r := b.do("delete", b.id); r.status != 0 || !strings.HasPrefix(r.stderr, "gocat-oci: warning: hooks.poststop: ") || !strings.Contains(r.stderr, "no luck") {
		t.Errorf("%+v", r)
	}
	if got := string(mustRead(t, record)); got != "run\n" {
		t.Errorf("the next hook: %q", got)
	}
}

// TestCapabilitiesMissing asks for capabilities that there are not: the container goes
// without, and the log says so.
func TestCapabilitiesMissing(t *testing.T) {
	b := newBox(t, exiting(t, 0))
	c := b.spec.Process.Capabilities
	c.Bounding, c.Permitted = append(c.Bounding, "CAP_TEST"), append(c.Permitted, "CAP_TEST")
	b.save()
	log := filepath.Join(b.bundle, "log")
	if r := b.do("--log", log, "--log-format", "json", "run", b.id); r.status != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	if text := string(mustRead(t, log)); !strings.Contains(text, `"level":"warning"`) || strings.Count(text, "CAP_TEST") != 1 {
		t.Errorf("log: %s", text)
	}
}

// TestContainerHook has a hook whose program is the image's: it has no more than the
// container's process.
func TestContainerHook(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		for _, dir := range []string{"/bin", "/lib", "/lib64", "/usr"} {
			b.mount(dir, dir, "rbind", "ro")
		}
		b.mount("/record", "record", "bind")
		b.write("record", nil)
		if err := os.Chmod(filepath.Join(b.bundle, "record"), 0o666); err != nil {
			t.Fatal(err)
		}
		b.spec.Process.User = specs.User{UID: 1234, GID: 1234}
		b.spec.Process.Capabilities = nil
		script := "exec >/record; id -u; grep -E 'SigBlk|CapEff|CapBnd|NoNewPrivs' /proc/self/status | cut -f2; ls /proc/$$/fd"
		b.spec.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}}}
		b.save()
		b.created()
		b.must("start", b.id)
		b.must("delete", "--force", b.id)
		const none = "0000000000000000\n"
		want := "1234\n" + none + none + none + "1\n0\n1\n2\n"
		if got := string(mustRead(t, filepath.Join(b.bundle, "record"))); got != want {
			t.Errorf("a hook has %q, want %q", got, want)
		}
	})
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
