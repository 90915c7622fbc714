package goguests

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

func TestHello(t *testing.T) {
	under(t, func(t *testing.T, r runner) {
		got := r.command("hello", []string{"--mem=64"}, "you", "two").Run(t)
		r.check(t, got, testhost.Result{Stdout: "Hello from you two\n"})
	})
}

// TestStress has the Go runtime work hard in little, usual and much memory.
func TestStress(t *testing.T) {
	testhost.Slow(t)
	runs, sizes := 1, []int{64, 512, 4096}
	if big() {
		runs = 100
	}
	if testing.Short() { // an emulated machine is slow
		sizes = []int{512}
	}
	var host unix.Sysinfo_t
	if err := unix.Sysinfo(&host); err != nil {
		t.Fatal(err)
	}
	under(t, func(t *testing.T, r runner) {
		for _, mem := range sizes {
			if r.solo5 && uint64(mem)<<20 > host.Totalram*uint64(host.Unit) {
				t.Logf("Solo5's tender would not start with %d MB: it reserves them", mem)
				continue
			}
			var args []string
			if mem >= 512 {
				args = []string{"200"}
			}
			for range runs {
				got := r.command("stress", []string{fmt.Sprintf("--mem=%d", mem)}, args...).Run(t)
				r.check(t, got, testhost.Result{Stdout: "stress: passed\n"})
			}
		}
	})
}

// TestOutOfMemory has programs need more memory than there is, in one piece and
// bit by bit: Go's runtime says so and ends.
func TestOutOfMemory(t *testing.T) {
	under(t, func(t *testing.T, r runner) {
		for _, arg := range []string{"200", "grow"} {
			got := r.command("stress", []string{"--mem=64"}, arg).Run(t)
			if strings.Contains(got.Stdout, "fatal error: out of memory\n") {
				got.Stdout = ""
			}
			r.check(t, got, testhost.Result{Status: 2})
		}
	})
}

// TestCollector has a program make garbage faster than a collector could follow
// that is not helped.
func TestCollector(t *testing.T) {
	testhost.Slow(t)
	runs := 3
	if big() {
		runs = 100
	}
	under(t, func(t *testing.T, r runner) {
		for range runs {
			got := r.command("stress", []string{"--mem=128"}, "collect").Run(t)
			r.check(t, got, testhost.Result{Stdout: "stress: passed\n"})
		}
	})
}

// TestCats has both cats copy a pipe.
func TestCats(t *testing.T) {
	input := string(testhost.Random(3 << 20))
	under(t, func(t *testing.T, r runner) {
		for _, cat := range []string{"simple", "advanced"} {
			c := r.command(cat, []string{"--net:stdin=@0"}, "--solo5:quiet", "-l", "netif:quiet")
			r.check(t, r.through(t, c, input), testhost.Result{Stdout: input})
		}
	})
}

// through runs c with input in a pipe. Solo5's own tender for hvt has no end of
// file: its guest is killed when it has printed as much as it was given.
func (r runner) through(t *testing.T, c *testhost.Command, input string) testhost.Result {
	t.Helper()
	in, w := testhost.Pipe(t)
	go func() {
		w.WriteString(input)
		w.Close()
	}()
	c.Files = []*os.File{in, testhost.Memfd(t), testhost.Memfd(t)}
	p := c.Start(t)
	in.Close()
	kill := r.solo5 && r.target == image.HVT
	for kill && p.Running() {
		info, err := c.Files[1].Stat()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() >= int64(len(input)) {
			p.Signal(unix.SIGKILL)
			p.Wait()
			return testhost.Result{Stdout: testhost.Contents(t, c.Files[1])}
		}
		time.Sleep(time.Millisecond)
	}
	status := testhost.Status(p.Wait())
	return testhost.Result{Status: status, Stdout: testhost.Contents(t, c.Files[1]), Stderr: testhost.Contents(t, c.Files[2])}
}
