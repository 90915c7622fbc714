package e2e

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// soakStarts is how many times a guest is started and stopped.
func soakStarts(t *testing.T) int { return testhost.Count(t, "GOCAT_SOAK", 40) }

// hostState is what guests that have ended may not have left on the host.
type hostState struct {
	files      int // open in the whole system
	own        int // open in this process
	interfaces int // in this network namespace
	processors int // of KVM's machines, in the kernel's memory; -1 when this cannot be known
}

func readHost(t *testing.T) hostState {
	t.Helper()
	count := func(pattern string) int {
		all, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	b, err := os.ReadFile("/proc/sys/fs/file-nr")
	if err != nil {
		t.Fatal(err)
	}
	files, err := strconv.Atoi(strings.Fields(string(b))[0])
	if err != nil {
		t.Fatal(err)
	}
	h := hostState{files: files, own: count("/proc/self/fd/*"), interfaces: count("/proc/thread-self/net/dev_snmp6/*"), processors: -1}
	b, _ = os.ReadFile("/proc/slabinfo") // for root alone
	if _, rest, ok := strings.Cut(string(b), "\nkvm_vcpu "); ok {
		if h.processors, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// unchanged compares the host with what it was before starts starts. Others use
// it at the same time, so what is counted for the whole system may differ by
// less than one for each start. The garbage collector may close files of earlier
// tests.
func (h hostState) unchanged(t *testing.T, starts int) {
	t.Helper()
	now := readHost(t)
	t.Logf("%d starts; before %+v, after %+v", starts, h, now)
	if now.own > h.own || now.interfaces != h.interfaces {
		t.Errorf("before %+v, after %+v", h, now)
	}
	if starts >= 1000 && (now.files > h.files+starts/2 || now.processors > h.processors+starts/2) {
		t.Errorf("%d starts: before %+v, after %+v", starts, h, now)
	}
}

// subreaper makes processes whose parents end this process's children, and
// returns what checks that it has none.
func subreaper(t *testing.T) (childless func()) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	return func() {
		t.Helper()
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); err != unix.ECHILD {
			t.Errorf("processes are left: %d, %v", pid, err)
		}
	}
}

// start starts a command with input in a pipe and returns it, its output and the
// end of the pipe, which stays open.
func start(t *testing.T, path string, args []string, stdout *os.File) (*os.Process, *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w := os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	defer r.Close()
	if _, err := w.WriteString("through"); err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{Files: []*os.File{r, stdout, stdout}, Env: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	return p, w
}

// TestSoak starts and stops guests of each kind many times, on taps and disks as
// well, and finds nothing of them on the host.
func TestSoak(t *testing.T) {
	testhost.Slow(t)
	starts := soakStarts(t)
	childless := subreaper(t)
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			stdout := testhost.Memfd(t)
			before := readHost(t)
			for range starts {
				p, w := start(t, c.Path, c.Args, stdout)
				w.Close()
				if s, err := p.Wait(); err != nil || s.ExitCode() != 0 {
					t.Fatalf("%v, %v: %s", s, err, testhost.Contents(t, stdout))
				}
			}
			if got := testhost.Contents(t, stdout); got != strings.Repeat("through", starts) {
				t.Errorf("%d bytes came through", len(got))
			}
			before.unchanged(t, starts)
			childless()
		})
	}
	t.Run("tap", func(t *testing.T) {
		testhost.NeedRoot(t, "to make namespaces and taps")
		testhost.Netns(t)
		testhost.Tap(t, "soak0", unix.IFF_TAP|unix.IFF_NO_PI)
		testhost.Up(t, "soak0", 1500)
		args := []string{"run", "--net=net=soak0", "--block=disk=" + testhost.Disk(t, 4096), twoDevices(t)}
		stdout := testhost.Memfd(t)
		before := readHost(t)
		for range starts / 4 {
			p, w := start(t, gocat, args, stdout)
			w.Close()
			if s, err := p.Wait(); err != nil || s.ExitCode() != 5 {
				t.Fatalf("%v, %v: %s", s, err, testhost.Contents(t, stdout))
			}
		}
		before.unchanged(t, starts/4)
		childless()
	})
}

// TestKilledAtRandom kills guests at random moments from their start to their
// end, and with them all that they had.
func TestKilledAtRandom(t *testing.T) {
	testhost.Slow(t)
	starts := soakStarts(t)
	childless := subreaper(t)
	random := rand.New(rand.NewPCG(1, uint64(starts)))
	for way, c := range allWays(t) {
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			t.Run(way+"/"+signal.String(), func(t *testing.T) {
				needKVM(t, way)
				stdout := testhost.Memfd(t)
				before := readHost(t)
				for i := range starts {
					p, w := start(t, c.Path, c.Args, stdout)
					time.Sleep(time.Duration(random.IntN(12_000)) * time.Microsecond)
					if i%3 == 0 {
						w.Close() // it may end by itself
					}
					p.Signal(signal)
					state, err := p.Wait()
					w.Close()
					if err != nil {
						t.Fatal(err)
					}
					status := testhost.Status(unix.WaitStatus(state.Sys().(syscall.WaitStatus)))
					if status != 128+int(signal) && (i%3 != 0 || status != 0) {
						t.Fatalf("start %d: status %d: %q", i, status, testhost.Contents(t, stdout))
					}
				}
				before.unchanged(t, starts)
				childless()
			})
		}
	}
}

// TestReaderGone closes the reader of a guest's output at random moments.
func TestReaderGone(t *testing.T) {
	starts := soakStarts(t) / 4
	random := rand.New(rand.NewPCG(2, uint64(starts)))
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			zero, err := os.Open("/dev/zero")
			if err != nil {
				t.Fatal(err)
			}
			defer zero.Close()
			for i := range starts {
				stderr := testhost.Memfd(t)
				var fds [2]int
				if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
					t.Fatal(err)
				}
				stdout := os.NewFile(uintptr(fds[1]), "pipe")
				p, err := os.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &os.ProcAttr{
					Files: []*os.File{zero, stdout, stderr}, Env: []string{}})
				stdout.Close()
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(random.IntN(12_000)) * time.Microsecond)
				unix.Close(fds[0])
				state, err := p.Wait()
				if err != nil {
					t.Fatal(err)
				}
				status := testhost.Status(unix.WaitStatus(state.Sys().(syscall.WaitStatus)))
				if said := testhost.Contents(t, stderr); status != 128+int(unix.SIGPIPE) || said != "" {
					t.Fatalf("start %d: status %d, %q", i, status, said)
				}
			}
		})
	}
}
