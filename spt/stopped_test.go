package spt

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/testhost"
)

// TestStoppedInWrite shows what a guest prints that is stopped while its console is
// full: of a large write what fits, of writes that a pipe takes whole everything.
func TestStoppedInWrite(t *testing.T) {
	const total, whole = 3 << 20, 4096
	for size, want := range map[uint64]func(int) bool{
		total: func(n int) bool { return n > 0 && n < total },
		whole: func(n int) bool { return n == total },
	} {
		u := probe(t, func(p *guests.Probe) {
			p.Sweep(0, total, size, func(guests.Value) []guests.Step {
				return []guests.Step{p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(heap), guests.N(size))}
			})
		})
		u.Memory = 8 << 20
		r, w := testhost.Pipe(t)
		c := testhost.Command{Path: u.seal(t), Files: []*os.File{testhost.Null(t), w, testhost.Null(t)}}
		p := c.Start(t)
		w.Close()
		p.WaitAsleep() // the pipe is full
		p.Signal(unix.SIGSTOP)
		for stopped := false; !stopped; time.Sleep(time.Millisecond) {
			b, err := os.ReadFile("/proc/" + strconv.Itoa(p.Pid) + "/status")
			if err != nil {
				t.Fatal(err)
			}
			stopped = strings.Contains(string(b), "\nState:\tT ")
		}
		p.Signal(unix.SIGCONT)
		n, err := io.Copy(io.Discard, r)
		if s := p.Wait(); err != nil || s.ExitStatus() != 0 || !want(int(n)) {
			t.Errorf("writes of %d bytes: %d of %d arrive: status %#x, %v", size, n, total, s, err)
		}
	}
}
