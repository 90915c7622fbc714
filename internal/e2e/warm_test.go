package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// seal runs gocat seal with a pipe that stays open as descriptor 0, and returns the
// path of what it makes.
func seal(t *testing.T, args ...string) (string, testhost.Result) {
	t.Helper()
	r, _ := testhost.Pipe(t)
	path := filepath.Join(t.TempDir(), "warm")
	c := command(append([]string{"seal", "-o", path}, args...)...)
	c.Files = []*os.File{r}
	return path, c.Run(t)
}

// warm is seal for calls that must succeed.
func warm(t *testing.T, args ...string) string {
	t.Helper()
	path, r := seal(t, args...)
	if r.Status != 0 {
		t.Fatalf("gocat seal: %+v", r)
	}
	return path
}

// eachBackend runs a test for each backend.
func eachBackend(t *testing.T, test func(*testing.T, image.Target)) {
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			test(t, target)
		})
	}
}

// input runs an executable with a pipe as standard input, which holds text and ends.
func input(t *testing.T, text, path string, args ...string) testhost.Result {
	t.Helper()
	r, w := testhost.Pipe(t)
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return (&testhost.Command{Path: path, Args: args, Files: []*os.File{r}}).Run(t)
}

// TestWarmCat warms the bundled cats before their input.
func TestWarmCat(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		for _, variant := range []string{"advanced", "simple"} {
			args := []string{"--warm", "--mem=4", "--backend=" + target.String(), "--net-mac=stdin=02:00:00:00:00:01", "--guest=" + variant}
			path := warm(t, args...)
			for _, text := range []string{"hello\n", "", "again"} {
				check(t, variant, input(t, text, path), testhost.Result{Stdout: text})
			}
			check(t, "with an argument", input(t, "", path, "x"), testhost.Result{Status: 125,
				Stderr: "gocat: this guest has started already, with the arguments that gocat seal was given: it takes no others\n"})
			again := warm(t, args...)
			a, b := read(t, path), read(t, again)
			if target == image.SPT && !bytes.Equal(a, b) || len(a) != len(b) || differences(a, b) > 16 { // two times
				t.Errorf("%s: two snapshots of the same differ", variant)
			}
			st, err := os.Stat(path)
			if err != nil || st.Mode().Perm() != 0o700 {
				t.Errorf("mode %v, %v", st.Mode(), err)
			}
			facts := command("inspect", path).Run(t)
			if facts.Status != 0 || !strings.Contains(facts.Stdout, "\n  warm        as it waited for input, ") {
				t.Errorf("inspect: %+v", facts)
			}
			// One that is cut off, wherever it could say so, does.
			if err := os.WriteFile(again, a[:len(a)-4096], 0o700); err != nil {
				t.Fatal(err)
			}
			check(t, "cut off", input(t, "x", again), testhost.Result{Status: 125,
				Stderr: "gocat: the executable is damaged: it is not as long as gocat seal made it\n"})
		}
	})
}

// differences counts the bytes in which a differs from b, which is as long.
func differences(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWarmIsolated warms a guest that is as isolated as can be, and one that nobody can
// look at.
func TestWarmIsolated(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		for _, option := range []string{"--isolate=full", "--require=undumpable", "--isolate=none"} {
			path := warm(t, "--warm", "--backend="+target.String(), option)
			check(t, option, input(t, "hello", path), testhost.Result{Stdout: "hello"})
		}
	})
}

// TestWarmMany starts many clones of a large cat at the same time, which share
// their memory.
func TestWarmMany(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		path := warm(t, "--warm", "--backend="+target.String())
		n := 20
		if !testing.Short() {
			n = 200
		}
		var all []*testhost.Process
		var ends []*os.File
		var outs []*os.File
		for range n {
			r, w := testhost.Pipe(t)
			out := testhost.Memfd(t)
			c := testhost.Command{Path: path, Files: []*os.File{r, out, testhost.Null(t)}}
			all, ends, outs = append(all, c.Start(t)), append(ends, w), append(outs, out)
			r.Close()
		}
		for i, w := range ends {
			fmt.Fprintf(w, "clone %d\n", i)
			w.Close()
		}
		for i, p := range all {
			if s := testhost.Status(p.Wait()); s != 0 || testhost.Contents(t, outs[i]) != fmt.Sprintf("clone %d\n", i) {
				t.Errorf("clone %d: status %d, %q", i, s, testhost.Contents(t, outs[i]))
			}
		}
	})
}

// TestWarmRefused has what gocat seal --warm refuses, each in a line.
func TestWarmRefused(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		exits := probeFor(t, target, func(p *guests.Probe) { p.Do(p.Exit(guests.N(3))) })
		for name, c := range map[string]struct {
			args []string
			says string
		}{
			"clones":  {[]string{"--warm", exits}, "does not know of its clones (it has no GEN1 note)"},
			"exits":   {[]string{"--warm", "--unsafe-clones", exits}, "the guest ended with status 3 before it waited for input"},
			"no warm": {[]string{"--once"}, "--once is for --warm"},
			"time":    {[]string{"--warm-after=x"}, `"x": want a time such as 500ms or 2s`},
		} {
			path, r := seal(t, c.args...)
			if r.Status != 1 || !strings.Contains(r.Stderr, c.says) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("%s: %+v", name, r)
			}
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s: a file is left", name)
			}
		}
		// A device that is not there is told once, by the guest's own start.
		_, r := seal(t, "--warm", "--net=stdin=@999", "--backend="+target.String())
		if r.Status != 1 || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, "descriptor 999 is not open") {
			t.Errorf("%+v", r)
		}
	})
}

// TestWarmOnce has a snapshot start a single time.
func TestWarmOnce(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		path := warm(t, "--warm", "--once", "--backend="+target.String())
		data := read(t, path)
		check(t, "once", input(t, "hello", path), testhost.Result{Stdout: "hello"})
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("it is still there: %v", err)
		}
		// Of two that were started of the same file one is late.
		if err := os.WriteFile(path, data, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		os.Remove(path)
		in, _ := testhost.Pipe(t)
		c := testhost.Command{Path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()), Files: []*os.File{in}}
		check(t, "twice", c.Run(t), testhost.Result{Status: 125,
			Stderr: "gocat: this guest starts a single time, and has (gocat seal --once): no such file or directory\n"})
	})
}

// TestWarmGo starts clones of a Go program, which differ where they must.
func TestWarmGo(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		img := goImage(t, target, "../goguests/clones", "--net", "in")
		for _, c := range []struct {
			options, args []string
			begins        string
		}{
			{[]string{"--warm"}, nil, ""},
			{[]string{"--warm-at=started"}, nil, ""},
			{[]string{"--warm-asked"}, []string{"asked"}, "clone true <nil>\n"},
			{[]string{"--warm"}, []string{"tick"}, "tick\ntick\ntick\n"},
		} {
			args := append(append(append([]string{}, c.options...), "--net", "in=@0", img), c.args...)
			path := warm(t, args...)
			seen := map[string]bool{}
			for range 3 {
				r := input(t, "hello\n", path)
				lines := strings.Split(strings.TrimPrefix(r.Stdout, c.begins), "\n")
				if !strings.HasPrefix(r.Stdout, c.begins) || r.Status != 7 || len(lines) != 6 || lines[0] != `line "hello\n"` ||
					!strings.HasPrefix(lines[3], "monotonic true true since 0s wall ") || lines[4] != "slept true" {
					t.Fatalf("%v: %+v", args, r)
				}
				for _, word := range strings.Fields(lines[1])[1:] {
					if seen[word] {
						t.Errorf("two clones have %s: %s", word, lines[1])
					}
					seen[word] = true
				}
			}
		}
	})
}

// TestWarmUnread has input that a guest has not read when it is stopped.
func TestWarmUnread(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		img := goImage(t, target, "../goguests/clones", "--net", "in")
		r, w := testhost.Pipe(t)
		if _, err := w.WriteString("unread"); err != nil {
			t.Fatal(err)
		}
		for _, anyway := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "warm")
			c := command("seal", "-o", path, "--warm-at=tick", "--net", "in=@0")
			if anyway {
				c.Args = append(c.Args, "--warm-anyway")
			}
			c.Args = append(c.Args, img, "tick")
			c.Files = []*os.File{r}
			got := c.Run(t)
			if anyway && got.Status != 0 {
				t.Errorf("anyway: %+v", got)
			}
			if !anyway && (got.Status != 1 || !strings.Contains(got.Stderr, "network device 'in' has input that the guest has not read")) {
				t.Errorf("%+v", got)
			}
		}
	})
}

// clock starts an executable where the monotonic clock differs from the host's, in
// seconds.
func clock(t *testing.T, seconds int64, path string) testhost.Result {
	t.Helper()
	testhost.NeedRoot(t, "to make a time namespace")
	r, w := testhost.Pipe(t)
	fmt.Fprintln(w, "hello")
	w.Close()
	c := testhost.Command{Path: "/usr/bin/unshare", Args: []string{"-T", fmt.Sprintf("--monotonic=%d", seconds), path}, Files: []*os.File{r}}
	return c.Run(t)
}

// TestWarmTime starts clones a day later, and on a host that was rebooted.
func TestWarmTime(t *testing.T) {
	testhost.NeedRoot(t, "to make a time namespace")
	eachBackend(t, func(t *testing.T, target image.Target) {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		knows := warm(t, "--warm", "--net", "in=@0", goImage(t, target, "../goguests/clones", "--net", "in"), "tick")
		for _, c := range []struct {
			seconds int64
			since   string
		}{{86400, "24h0m0s"}, {5 - now.Sec, "0s"}} {
			r := clock(t, c.seconds, knows)
			if target == image.HVT { // its clock is the processor's
				c.since = "0s"
			}
			if r.Status != 7 || !strings.Contains(r.Stdout, "monotonic true true since "+c.since+" wall ") || !strings.Contains(r.Stdout, "slept true") ||
				strings.Count(r.Stdout, "tick") != 3 {
				t.Errorf("%d s later: %+v", c.seconds, r)
			}
		}
	})
}

// TestWarmClock has a guest that has read the clock and does not know of its clones: it
// starts a day later, and is refused where the clock would go back for it.
func TestWarmClock(t *testing.T) {
	testhost.NeedRoot(t, "to make a time namespace")
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	path := warm(t, "--warm", "--unsafe-clones", "--net", "in=@0", waiter(t, 7))
	check(t, "at once", input(t, "", path), testhost.Result{Status: 7})
	check(t, "a day later", clock(t, 86400, path), testhost.Result{Status: 7})
	check(t, "started anew", clock(t, 1-now.Sec, path), testhost.Result{Status: 125,
		Stderr: "gocat: this host's monotonic clock is behind that which the guest has seen, and would go back for it: the host was started anew, or is another one\n"})
}

// waiter is the path of a guest for spt that reads the clock, waits for its device, in,
// without end, and exits.
func waiter(t *testing.T, status uint64) string {
	t.Helper()
	p := guests.NewProbe(image.SPT, image.Entry{Name: "in", Type: image.Net})
	p.Var()
	buf := p.Var() // 16 bytes
	p.Do(p.Syscall(unix.SYS_CLOCK_GETTIME, guests.N(unix.CLOCK_MONOTONIC), guests.N(buf)).Equals(guests.N(0), 1),
		p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(abi.SPTBootEpollFD), guests.N(buf), guests.N(1), guests.N(1<<32-1), guests.N(0), guests.N(0)).Equals(guests.N(1), 2),
		p.Exit(guests.N(status)))
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "waiter.spt")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
