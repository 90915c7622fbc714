package goguests

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestSignals has a program asked to end: once, which it is told of, and twice,
// which it cannot help.
func TestSignals(t *testing.T) {
	preempting(t, func(t *testing.T, r runner) {
		for _, tt := range []struct {
			mode    string
			signals []unix.Signal
			status  int
			stdout  string
		}{
			{"wait", []unix.Signal{unix.SIGTERM}, 0, "begun\nterminated signal received\n"},
			{"wait", []unix.Signal{unix.SIGINT}, 0, "begun\ninterrupt signal received\n"},
			{"busy", []unix.Signal{unix.SIGTERM}, 0, "begun\nterminated signal received\n"},
			{"stay", []unix.Signal{unix.SIGINT, unix.SIGINT}, 130, "begun\ninterrupt signal received\n"},
			{"stay", []unix.Signal{unix.SIGTERM, unix.SIGTERM}, 143, "begun\nterminated signal received\n"},
			{"wait", []unix.Signal{unix.SIGHUP}, 129, "begun\n"},
			{"none", []unix.Signal{unix.SIGTERM}, 143, "begun\n"},
		} {
			c := r.command("signals", nil, tt.mode)
			stdout, stderr := testhost.Memfd(t), testhost.Memfd(t)
			c.Files = append(c.Files, testhost.Null(t), stdout, stderr)
			p := c.Start(t)
			for i, s := range tt.signals {
				waitFor(t, func() bool { return strings.Count(testhost.Contents(t, stdout), "\n") > i })
				p.Signal(s)
			}
			got := testhost.Result{Status: testhost.Status(p.Wait()), Stdout: testhost.Contents(t, stdout), Stderr: testhost.Contents(t, stderr)}
			if want := (testhost.Result{Status: tt.status, Stdout: tt.stdout}); got != want {
				t.Errorf("%s %v: got %+v, want %+v", tt.mode, tt.signals, got, want)
			}
		}
	})
}

// waitFor waits until the result of what a guest does is there.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("still not")
		}
	}
}

// TestOwnSignals has a program send signals to itself.
func TestOwnSignals(t *testing.T) {
	under(t, func(t *testing.T, r runner) {
		r.check(t, r.command("signals", nil, "self").Run(t), testhost.Result{Status: 143, Stdout: "begun\nends\n"})
	})
}

// TestProfile has a program make a profile of what it does.
func TestProfile(t *testing.T) {
	preempting(t, func(t *testing.T, r runner) {
		r.check(t, r.command("signals", nil, "profile").Run(t), testhost.Result{Stdout: "begun\ntrue <nil>\n"})
	})
}

// TestSignalsSealed has a sealed guest told of a signal.
func TestSignalsSealed(t *testing.T) {
	path := t.TempDir() + "/sealed"
	seal := testhost.Command{Path: gocat, Args: []string{"seal", "-o", path, file(t, "signals", image.SPT), "wait"}}
	if got := seal.Run(t); got.Status != 0 {
		t.Fatalf("%+v", got)
	}
	stdout := testhost.Memfd(t)
	c := testhost.Command{Path: path}
	c.Files = append(c.Files, testhost.Null(t), stdout, testhost.Memfd(t))
	p := c.Start(t)
	waitFor(t, func() bool { return testhost.Contents(t, stdout) != "" })
	p.Signal(unix.SIGTERM)
	if s := testhost.Status(p.Wait()); s != 0 || testhost.Contents(t, stdout) != "begun\nterminated signal received\n" {
		t.Errorf("status %d, %q", s, testhost.Contents(t, stdout))
	}
}
