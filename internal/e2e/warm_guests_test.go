package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestWarmThousand starts a thousand clones of a Go program: no two have anything
// random in common.
func TestWarmThousand(t *testing.T) {
	testhost.Slow(t)
	eachBackend(t, func(t *testing.T, target image.Target) {
		path := warm(t, "--warm", "--net", "in=@0", goImage(t, target, "../goguests/clones", "--net", "in"), "heap=20")
		const clones, at = 1000, 8
		var mu sync.Mutex
		seen := map[string]int{}
		next := make(chan int)
		var running sync.WaitGroup
		for range at {
			running.Go(func() {
				for i := range next {
					r := input(t, "hello\n", path)
					lines := strings.Split(r.Stdout, "\n")
					if r.Status != 7 || len(lines) != 6 || lines[2] != "heap 327680" {
						t.Errorf("clone %d: %+v", i, r)
						continue
					}
					words := strings.Fields(lines[1])[1:]
					mu.Lock()
					for _, word := range words {
						if was, ok := seen[word]; ok {
							t.Errorf("clones %d and %d both have %s", was, i, word)
						}
						seen[word] = i
					}
					mu.Unlock()
				}
			})
		}
		for i := range clones {
			next <- i
		}
		close(next)
		running.Wait()
		if len(seen) != 5*clones {
			t.Errorf("%d words of %d clones, want five each", len(seen), clones)
		}
	})
}

// TestWarmStress stops a Go program that works hard at some wait, and has two clones
// end as it does.
func TestWarmStress(t *testing.T) {
	testhost.Slow(t)
	eachBackend(t, func(t *testing.T, target image.Target) {
		img := goImage(t, target, "../../examples/stress", "--loopback")
		rounds, most := 5, 1500
		if big() {
			rounds = 100
		}
		for done := 0; done < rounds; {
			after := 1 + rand.IntN(most)
			path, r := seal(t, fmt.Sprintf("--warm-after=%dms", after), "--mem=64", img)
			if r.Status == 1 && strings.Contains(r.Stderr, "ended with status 0 before it waited") {
				most = after // it takes no longer here
				continue
			}
			if r.Status != 0 {
				t.Fatalf("after %d ms: %+v", after, r)
			}
			for range 2 {
				check(t, fmt.Sprintf("stopped after %d ms", after), (&testhost.Command{Path: path}).Run(t), testhost.Result{Stdout: "stress: passed\n"})
			}
			done++
		}
	})
}

// TestWarmSolo5 has a program of Solo5's own, which sleeps five times for a second, go
// on from its first sleep. It may find that it has slept too long: time went on.
func TestWarmSolo5(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		dir := filepath.Join(testhost.Solo5(t), "tests")
		path := warm(t, "--warm", "--unsafe-clones", filepath.Join(dir, "test_time", "test_time."+target.String()))
		for range 2 {
			r := (&testhost.Command{Path: path}).Run(t)
			if r.Stderr != "" || !strings.HasPrefix(r.Stdout, "[5] Slept for ") {
				t.Errorf("%+v", r)
			}
			for n := 1; n < 5; n++ {
				var slept uint64
				_, after, _ := strings.Cut(r.Stdout, fmt.Sprintf("[%d] Slept for ", n))
				if fmt.Sscan(after, &slept); slept < 1e9 {
					t.Errorf("sleep %d: %d ns: %q", n, slept, r.Stdout)
				}
			}
		}
	})
}

// TestWarmDisk has a guest read its disk, which was changed since it was stopped, of which
// a line warns, and find it shorter.
func TestWarmDisk(t *testing.T) {
	const size, block = 8192, 512
	disk := filepath.Join(t.TempDir(), "disk")
	put := func(text string, n int) {
		t.Helper()
		b := make([]byte, n)
		copy(b, text)
		if err := os.WriteFile(disk, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := guests.NewProbe(image.SPT, image.Entry{Name: "in", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block})
	fd := p.Var()
	load := p.Load64(guests.Boot(abi.SPTBootManifest).Plus(abi.ManifestHeader + 2*abi.EntrySize + abi.EntryHostFD))
	load.Save = fd
	p.Do(p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(abi.SPTBootEpollFD), guests.N(guests.Scratch), guests.N(1), guests.N(1<<32-1), guests.N(0), guests.N(0)),
		load,
		p.Syscall(unix.SYS_PREAD64, guests.At32(fd), guests.N(guests.Scratch), guests.N(block), guests.N(0)).Equals(guests.N(block), 3),
		p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(guests.Scratch), guests.N(5)),
		p.Exit(guests.N(7)))
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	kernel := filepath.Join(t.TempDir(), "disk.spt")
	if err := os.WriteFile(kernel, b, 0o644); err != nil {
		t.Fatal(err)
	}
	put("first", size)
	path := warm(t, "--warm", "--unsafe-clones", "--net", "in=@0", "--block", "storage="+disk, kernel)
	check(t, "the disk", input(t, "", path), testhost.Result{Status: 7, Stdout: "first"})
	put("other", size)
	changed := "gocat: block 'storage': " + disk + " has changed since the guest was stopped: what the guest remembers of it may be wrong\n"
	check(t, "another", input(t, "", path), testhost.Result{Status: 7, Stdout: "other", Stderr: changed})
	put("short", size/2)
	if r := input(t, "", path); r.Status != 125 || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, "is no longer 8192 bytes long") {
		t.Errorf("a shorter one: %+v", r)
	}
}

// TestWarmMemory compares what clones of a Go program have of their own with what they
// use: most of it they share.
func TestWarmMemory(t *testing.T) {
	testhost.NeedRoot(t, "to read another process's memory map")
	eachBackend(t, func(t *testing.T, target image.Target) {
		path := warm(t, "--warm", "--net", "in=@0", goImage(t, target, "../goguests/clones", "--net", "in"), "heap=20")
		var pids []int
		for range 2 {
			r, _ := testhost.Pipe(t)
			c := testhost.Command{Path: path, Files: []*os.File{r, testhost.Null(t), testhost.Null(t)}}
			p := c.Start(t)
			p.WaitIdle()
			pids = append(pids, p.Pid)
		}
		for _, pid := range pids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			if err != nil {
				t.Fatal(err)
			}
			own := -1
			for line := range strings.Lines(string(b)) {
				fmt.Sscanf(line, "Anonymous: %d kB", &own)
			}
			t.Logf("%d KiB of its own", own)
			if own < 0 || own > 2048 {
				t.Errorf("%d KiB of its own, of more than 20 MiB that it has used", own)
			}
		}
	})
}

// TestWarmServer has clones of a web server, one after the other, serve on the tap that
// it was booted on.
func TestWarmServer(t *testing.T) {
	testhost.Slow(t)
	testhost.NeedRoot(t, "to make namespaces and taps")
	eachBackend(t, func(t *testing.T, target image.Target) {
		img := goImage(t, target, "../../examples/web")
		serverTap(t)
		path := warm(t, "--warm-at=listening", "--mem=128", "--net", "service=tap100", img, "--ipv4=10.0.0.2/24")
		for range 3 {
			p := (&testhost.Command{Path: path, Files: []*os.File{testhost.Null(t), testhost.Null(t), testhost.Null(t)}}).Start(t)
			ask(t, 4)
			p.Signal(unix.SIGKILL)
			p.Wait()
		}
	})
}

// TestWarmDiskChanged has guests of both backends warned of a disk that was written to
// since they were stopped, and of no other.
func TestWarmDiskChanged(t *testing.T) {
	eachBackend(t, func(t *testing.T, target image.Target) {
		disk := testhost.Disk(t, 8192)
		path := warm(t, "--warm", "--net", "in=@0", "--block", "storage="+disk, goImage(t, target, "../goguests/clones", "--net", "in", "--block", "storage"))
		if r := input(t, "hello\n", path); r.Status != 7 || r.Stderr != "" {
			t.Errorf("%+v", r)
		}
		f, err := os.OpenFile(disk, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{1}, 4096); err != nil {
			t.Fatal(err)
		}
		if r := input(t, "hello\n", path); r.Status != 7 || strings.Count(r.Stderr, "\n") != 1 ||
			!strings.HasPrefix(r.Stderr, "gocat: block 'storage': "+disk+" has changed since the guest was stopped: ") {
			t.Errorf("%+v", r)
		}
	})
}
