package engines

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what takes well under a second on a host
// that is not busy.
const patience = 60 * time.Second

// engine is a container engine with gocat as its runtime.
type engine interface {
	// start makes the engine ready. It ends with t.
	start(t *testing.T)
	// load makes an image known to the engine.
	load(t testing.TB, archive string)
	// run runs a container to its end.
	run(t testing.TB, s spec) ended
	// launch starts a container that goes on; it is removed when t ends.
	launch(t testing.TB, s spec) container
	// lacks says why the engine cannot do what a case needs, or "".
	lacks(need string) string
}

// spec is a container.
type spec struct {
	image    string   // without registry and tag
	args     []string // of the guest
	stdin    []byte   // nil for none
	terminal bool
	memory   string   // limit, such as 64m
	publish  string   // HOST:CONTAINER, ports
	volume   string   // HOST:CONTAINER[:ro], a file
	networks []string // names of network's; none is no network
	mapped   bool     // users are others on the host
}

// ended is what is left of a container.
type ended struct {
	status         int
	stdout, stderr string
}

// container is one that was launched. Its methods fail their test.
type container interface {
	logs() []byte
	wait() int // its status
	state() string
	kill(signal string)
	stop(seconds int)
	pause()
	resume()
	restart()
	limit(mb int) // of memory, now
}

// command runs a program to its end and fails t if it cannot.
func command(t testing.TB, stdin io.Reader, args ...string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	cmd.WaitDelay = patience
	timer := time.AfterFunc(3*patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must is command for what has to succeed; it returns its output.
func must(t testing.TB, args ...string) string {
	t.Helper()
	e := command(t, nil, args...)
	if e.status != 0 {
		t.Fatalf("%s: status %d\n%s%s", strings.Join(args, " "), e.status, e.stdout, e.stderr)
	}
	return strings.TrimSpace(e.stdout)
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for start := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("in vain: waited for %s", what)
		}
	}
}

// daemon starts a program that goes on, its output in a file, and ends it with t.
func daemon(t *testing.T, log string, args ...string) *exec.Cmd {
	t.Helper()
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(log)
			t.Logf("the end of %s:\n%s", args[0], b[max(0, len(b)-4000):])
		}
		cmd.Process.Signal(os.Interrupt)
		timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
		defer timer.Stop()
		cmd.Wait()
	})
	return cmd
}

// write makes a file with its directories.
func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
