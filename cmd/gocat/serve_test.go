package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// served is a gocat serve that runs.
type served struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	port   int
}

// sealedNetwork seals the guest that answers lines, to be published at a port.
func sealedNetwork(t testing.TB, backend string, port int, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "network")
	args := append([]string{"seal", "-o", path, "--mem=64", "--net=service=user", fmt.Sprintf("--publish=%d:80", port)}, options...)
	if r := gocat(t, append(args, networkGuest(t, backend))...); r.status != 0 {
		t.Fatalf("%+v", r)
	}
	return path
}

// serveGuest starts gocat serve.
func serveGuest(t testing.TB, port int, args ...string) *served {
	t.Helper()
	cmd, stderr := userGuest(t, append([]string{program, "serve"}, args...)...)
	s := &served{t, cmd, stderr, port}
	s.until("the port is open", func() bool {
		b, err := os.ReadFile("/proc/net/tcp") // to connect would start the guest
		return err == nil && bytes.Contains(b, fmt.Appendf(nil, "0100007F:%04X 00000000:0000 0A", port))
	})
	return s
}

// until is until, unless gocat serve has ended.
func (s *served) until(what string, f func() bool) {
	s.t.Helper()
	until(s.t, what, func() bool {
		if testhost.Ended(s.cmd.Process.Pid) {
			s.t.Fatalf("%s: gocat serve has ended: %s", what, s.stderr)
		}
		return f()
	})
}

// guest is the number of the guest's process, 0 if there is none.
func (s *served) guest() int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid)) // of each thread
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && !gone(pid) {
				return pid
			}
		}
	}
	return 0
}

// gone reports whether a process has ended, though nobody may have waited for it yet.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return err != nil || len(rest) == 0 || rest[0] == 'Z' || rest[0] == 'X'
}

// A connection starts the guest; idle, it ends; another connection starts it again. It
// has a socket for its frames, and no other. Signals end everything.
func TestServe(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		before := serving(t)
		port := freePort(t)
		for _, option := range []string{"--name=cold", "--warm-at=ready"} {
			datagrams := freePort(t)
			s := serveGuest(t, port, "--idle=100ms", sealedNetwork(t, backend, port, option, fmt.Sprintf("--publish=%d:7/udp", datagrams)))
			s.until("what made the network has ended", func() bool { return s.guest() == 0 })
			for range 3 {
				open := dialled(t, port)
				if err := asked(port); err != nil {
					t.Fatal(err, s.stderr)
				}
				// It stays while a connection is open.
				guest := s.guest()
				sockets := 0
				files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", guest))
				if err != nil {
					testhost.NeedRoot(t, "to see the descriptors of a guest")
					t.Fatal(err)
				}
				for _, f := range files {
					if to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", guest, f.Name())); strings.HasPrefix(to, "socket:") {
						sockets++
					}
				}
				if sockets != 1 {
					t.Errorf("the guest has %d sockets", sockets)
				}
				if err := answer(open); err != nil {
					t.Error(err)
				}
				s.until("the guest ends when it is idle", func() bool { return s.guest() == 0 })
			}
			// A datagram starts it too. One that boots may be idle again before it listens.
			if option != "--name=cold" {
				if err := echoed(datagrams); err != nil {
					t.Error(err, s.stderr)
				}
			}
			s.cmd.Process.Signal(unix.SIGTERM)
			if err := s.cmd.Wait(); err != nil || s.stderr.Len() > 0 {
				t.Errorf("%v, %s", err, s.stderr)
			}
			if now := serving(t); len(now) != len(before) {
				t.Errorf("%d networks are left", len(now)-len(before))
			}
		}
	})
}

// Connections at any moment are answered: before the guest runs, while it starts, while
// it serves, and while it ends.
func TestServeRandom(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		port := freePort(t)
		s := serveGuest(t, port, "--idle=15ms", sealedNetwork(t, backend, port, "--warm-at=ready"))
		guests := map[int]bool{}
		var all sync.WaitGroup
		for range testhost.Count(t, "GOCAT_SOAK", 100) {
			all.Go(func() {
				if err := asked(port); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
			guests[s.guest()] = true
		}
		all.Wait()
		if t.Failed() {
			t.Log(s.stderr)
		}
		t.Logf("%d guests", len(guests))
		if len(guests) < 3 {
			t.Error("the guest hardly ever ended")
		}
		s.cmd.Process.Signal(unix.SIGTERM)
		if err := s.cmd.Wait(); err != nil {
			t.Error(err, s.stderr)
		}
	})
}

// Whoever is killed, nothing is left; if that is the guest, the next one is started.
func TestServeKilled(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		port := freePort(t)
		sealed := sealedNetwork(t, backend, port)
		for _, kill := range []string{"guest", "network", "serve"} {
			before := serving(t)
			s := serveGuest(t, port, sealed)
			network := 0
			s.until("a network", func() bool {
				for pid := range serving(t) {
					if !before[pid] {
						network = pid
					}
				}
				return network != 0
			})
			if err := asked(port); err != nil {
				t.Fatal(err, s.stderr)
			}
			guest := s.guest()
			if guest == 0 || network == 0 { // which kill(2) would take for this test's own group
				t.Fatalf("guest %d, network %d", guest, network)
			}
			switch kill {
			case "guest":
				unix.Kill(guest, unix.SIGKILL)
				if err := asked(port); err != nil { // which came while it was gone
					if err = asked(port); err != nil {
						t.Error(err, s.stderr)
					}
				}
				if want := "gocat: network ended with status 137: "; !strings.HasPrefix(s.stderr.String(), want) {
					t.Errorf("%q, want %q", s.stderr, want)
				}
				s.cmd.Process.Signal(unix.SIGTERM)
				s.cmd.Wait()
			case "network":
				unix.Kill(network, unix.SIGKILL)
				s.cmd.Wait()
				if want := "gocat: the user network's process has ended, and the guest with it\n"; s.stderr.String() != want || s.cmd.ProcessState.ExitCode() != 1 {
					t.Errorf("%v, %q, want %q", s.cmd.ProcessState, s.stderr, want)
				}
			case "serve":
				s.cmd.Process.Kill()
				s.cmd.Wait()
			}
			until(t, kill+" is killed: all have ended", func() bool { return gone(guest) && len(serving(t)) == len(before) })
		}
	})
}

// A guest that fails at once is started again, for connections that wait, after pauses
// that grow.
func TestServeFails(t *testing.T) {
	port := freePort(t)
	path := filepath.Join(t.TempDir(), "fails")
	gocat(t, "seal", "-o", path, "--net=service=user", fmt.Sprintf("--publish=%d:80", port),
		kernel(t, exiting(3, image.Entry{Name: "service", Type: image.Net}))).wantSuccess(t)
	s := serveGuest(t, port, path)
	for range 3 {
		if asked(port) == nil { // the connection may be reset before connect returns
			t.Error("a guest that exits has answered")
		}
	}
	s.cmd.Process.Signal(unix.SIGTERM)
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
	want := ""
	for pause := 100 * time.Millisecond; pause < 10*time.Second; pause *= 2 {
		want += fmt.Sprintf("gocat: kernel ended with status 3: it is not started again for %v\n", pause)
	}
	if !strings.HasPrefix(want, s.stderr.String()) || !strings.Contains(s.stderr.String(), "200ms") {
		t.Errorf("%q", s.stderr)
	}
}

// What cannot be served is refused in one line.
func TestServeErrors(t *testing.T) {
	dir := t.TempDir()
	seal := func(name string, args ...string) string {
		path := filepath.Join(dir, name)
		gocat(t, append([]string{"seal", "-o", path}, args...)...).wantSuccess(t)
		return path
	}
	port, _ := listener(t, "tcp")
	user := seal("user", "--net=stdin=user")
	device := func(name string) image.Entry { return image.Entry{Name: name, Type: image.Net} }
	two := kernel(t, exiting(0, device("a"), device("b")))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{filepath.Join(dir, "absent")}, "no such file or directory"},
		{[]string{two}, "not a sealed guest"},
		{[]string{dir}, dir + ": "},
		{[]string{seal("pipe", "--net=stdin=@0")}, "its device stdin is descriptor @0, which nobody gives it here"},
		{[]string{seal("none", kernel(t, exiting(0)))}, "it has no user network"},
		{[]string{seal("two", "--net=a=user", "--net=b=user", two)}, "it has several network devices"},
		{[]string{user}, "no port is published, so nothing would start it"},
		{[]string{"--publish=8080", user}, "want [IP:]HOST:GUEST[/udp]"},
		{[]string{"--publish=8080:80", "--idle=soon", user}, `--idle: "soon": want a time`},
		{[]string{"--publish=8080:80", "--idle=1ns", user}, "want a time from 10ms"},
		{[]string{"--publish=8080:80", seal("shared", "--net=stdin=user,network=x")}, "cannot be shared"},
		{[]string{fmt.Sprintf("--publish=%d:80", port), user}, "address already in use"},
	} {
		gocat(t, append([]string{"serve"}, test.args...)...).wantError(t, "gocat", test.want)
	}
}

// Without gocat serve, too, an idle guest ends in order, and who holds its sockets has
// the connections that came meanwhile.
func TestIdle(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		before := serving(t)
		port, f := listener(t, "tcp")
		path := filepath.Join(t.TempDir(), "idle")
		if r := gocat(t, "seal", "-o", path, "--warm-at=ready", "--mem=64", "--net=service=user,idle=20ms",
			fmt.Sprintf("--publish=%d:80", freePort(t)), networkGuest(t, backend)); r.status != 0 {
			t.Fatalf("%+v", r)
		}
		left := make(chan struct{})
		go func() {
			defer close(left)
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					if err := asked(port); err != nil {
						t.Error(err)
					}
				})
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
			all.Wait()
		}()
		starts := 0
		for run := true; run; {
			select {
			case <-left:
				run = false
			default:
				poll := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
				if n, _ := unix.Poll(poll, 10); n != 1 {
					continue
				}
				guest, stderr := activated(t, []*os.File{f}, "", path)
				guest.Wait()
				ws := unix.WaitStatus(guest.ProcessState.Sys().(syscall.WaitStatus))
				if got := testhost.Status(ws); got != 128+int(unix.SIGTERM) || stderr.Len() > 0 {
					t.Errorf("%v, %s", guest.ProcessState, stderr)
				}
				starts++
			}
		}
		t.Logf("%d starts", starts)
		until(t, "all networks have ended", func() bool { return len(serving(t)) == len(before) })
	})
}

// Whoever is killed of a guest that may be idle, nothing is left.
func TestIdleKilled(t *testing.T) {
	backends(t, func(t *testing.T, backend string) {
		networks, watchers := serving(t), helpers(t, "watch")
		other := func(now, before map[int]bool) int {
			for pid := range now {
				if !before[pid] {
					return pid
				}
			}
			return 0
		}
		port := freePort(t)
		image := networkGuest(t, backend)
		for _, kill := range []string{"guest", "network", "watch"} {
			guest, stderr := userGuest(t, program, "run", "--mem=64", "--net=service=user,idle=1h", fmt.Sprintf("--publish=%d:80", port), image)
			until(t, "the guest answers", func() bool { return asked(port) == nil })
			network, watcher := other(serving(t), networks), other(helpers(t, "watch"), watchers)
			if network == 0 || watcher == 0 {
				t.Fatalf("network %d, watch %d, %s", network, watcher, stderr)
			}
			switch kill {
			case "guest":
				guest.Process.Kill()
			case "network":
				unix.Kill(network, unix.SIGKILL) // without its network the guest is asked to end
			case "watch":
				unix.Kill(watcher, unix.SIGKILL)
				if err := asked(port); err != nil {
					t.Error("without who ends it: ", err)
				}
				guest.Process.Signal(unix.SIGTERM)
			}
			guest.Wait()
			until(t, kill+" is killed: all have ended", func() bool { return gone(network) && gone(watcher) })
		}
	})
}
