package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"gocat/internal/testhost"
)

// What an idle guest may occupy, in KiB: an spt guest is alone in its process.
const (
	maxResident    = 64
	maxResidentHVT = 256
)

// TestIdleGuests has many guests at the same time: all start, wait, answer and
// end.
func TestIdleGuests(t *testing.T) {
	count := 200
	if big() {
		count = 1000
	}
	for way, c := range allWays(t, shown()...) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			count, limit := count, maxResident
			if way == "hvt" {
				count, limit = 50, maxResidentHVT
			}
			type idle struct {
				*testhost.Process
				stdin, stdout *os.File
			}
			guests := make([]idle, count)
			start := time.Now()
			before := available(t)
			null := testhost.Null(t)
			for i := range guests {
				g := &guests[i]
				var in, out *os.File
				in, g.stdin = testhost.Pipe(t)
				g.stdout, out = testhost.Pipe(t)
				c := *c
				c.Files = []*os.File{in, out, null}
				g.Process = c.Start(t)
				in.Close()
				out.Close()
			}
			for _, g := range guests {
				g.WaitIdle()
			}
			t.Logf("%d guests started in %v; they take %d KiB of the host in all", count,
				time.Since(start).Round(time.Millisecond), before-available(t))
			worst := 0
			for _, g := range guests {
				worst = max(worst, resident(t, g.Pid))
			}
			if worst > limit {
				t.Errorf("an idle guest occupies %d KiB", worst)
			}
			t.Logf("at most %d KiB resident each", worst)
			for i, g := range guests {
				if _, err := fmt.Fprintf(g.stdin, "guest %d\n", i); err != nil {
					t.Fatal(err)
				}
			}
			for i, g := range guests {
				buf := make([]byte, 100)
				n, err := g.stdout.Read(buf)
				if want := fmt.Sprintf("guest %d\n", i); err != nil || string(buf[:n]) != want {
					t.Errorf("guest %d answers %q, %v", i, buf[:n], err)
				}
			}
			for _, g := range guests {
				if !g.Running() {
					t.Error("a guest ended before its input")
				}
				g.stdin.Close()
			}
			for i, g := range guests {
				if s := g.Wait(); s != 0 {
					t.Errorf("guest %d: status %#x", i, s)
				}
			}
		})
	}
}

// shown are options with which resident works for a guest of this user's: an
// isolated one shows its memory to root alone.
func shown() []string {
	if os.Geteuid() == 0 {
		return nil
	}
	return []string{"--isolate=none"}
}

// resident is what a process occupies of the host's memory, in KiB, without pages of
// files, which all processes share: how many the kernel maps around those that are used
// goes by how the file came into its cache.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status := fmt.Sprintf("/proc/%d/status", pid)
	return field(t, status, "RssAnon:") + field(t, status, "RssShmem:")
}

// available is the host's memory that is free to use, in KiB.
func available(t *testing.T) int {
	t.Helper()
	return field(t, "/proc/meminfo", "MemAvailable:")
}

// field is a number of KiB in a file of /proc.
func field(t *testing.T, path, name string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == name {
			n, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no %s in %s", name, path)
	return 0
}
