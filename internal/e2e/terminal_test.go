package e2e

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestTerminal has gocat on a terminal, as a shell starts it: input, output and
// messages are one open file, which is as before however the guest ends.
func TestTerminal(t *testing.T) {
	key := func(b byte) func(*testing.T, *testhost.Process, *os.File) {
		return func(t *testing.T, _ *testhost.Process, master *os.File) {
			if _, err := master.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal := func(s unix.Signal) func(*testing.T, *testhost.Process, *os.File) {
		return func(_ *testing.T, p *testhost.Process, _ *os.File) { p.Signal(s) }
	}
	for name, end := range map[string]struct {
		how    func(*testing.T, *testhost.Process, *os.File)
		status int
	}{
		"^D":      {key(4), 0},
		"^C":      {key(3), 128 + int(unix.SIGINT)},
		"^\\":     {key(0x1c), 128 + int(unix.SIGQUIT)},
		"SIGTERM": {signal(unix.SIGTERM), 128 + int(unix.SIGTERM)},
		"SIGHUP":  {signal(unix.SIGHUP), 128 + int(unix.SIGHUP)},
		"SIGKILL": {signal(unix.SIGKILL), 128 + int(unix.SIGKILL)},
	} {
		for way, c := range allWays(t) {
			t.Run(name+"/"+way, func(t *testing.T) {
				needKVM(t, way)
				master, slave := testhost.RawPTY(t)
				testhost.SetCanonical(t, slave)
				before := testhost.SharedState(t, slave)
				same := func(when string) {
					t.Helper()
					if now := testhost.SharedState(t, slave); now != before {
						t.Errorf("%+v before, %+v %s", before, now, when)
					}
				}
				c.Files = []*os.File{slave, slave, slave}
				c.Attr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
				p := c.Start(t)
				p.WaitIdle()
				same("while it runs")
				if _, err := master.WriteString("typed\n"); err != nil {
					t.Fatal(err)
				}
				testhost.Expect(t, master, "typed\n")
				p.WaitIdle()
				end.how(t, p, master)
				if got := testhost.Status(p.Wait()); got != end.status {
					t.Errorf("status %d, want %d", got, end.status)
				}
				same("afterwards")
			})
		}
	}
}

// TestPipeFlags has pipes that the caller goes on to use.
func TestPipeFlags(t *testing.T) {
	for way, c := range allWays(t) {
		t.Run(way, func(t *testing.T) {
			needKVM(t, way)
			for _, nonblocking := range []bool{false, true} {
				in, feed := testhost.Pipe(t)
				out, console := testhost.Pipe(t)
				for _, f := range []*os.File{in, console} {
					if err := unix.SetNonblock(int(f.Fd()), nonblocking); err != nil {
						t.Fatal(err)
					}
				}
				before := [2]testhost.Shared{testhost.SharedState(t, in), testhost.SharedState(t, console)}
				same := func(when string) {
					t.Helper()
					now := [2]testhost.Shared{testhost.SharedState(t, in), testhost.SharedState(t, console)}
					if now != before {
						t.Errorf("%s: %+v before, %+v %s", way, before, now, when)
					}
				}
				c.Files = []*os.File{in, console, testhost.Null(t)}
				p := c.Start(t)
				p.WaitIdle()
				same("while it runs")
				if _, err := feed.WriteString("through"); err != nil {
					t.Fatal(err)
				}
				testhost.Expect(t, out, "through")
				p.Signal(unix.SIGKILL)
				p.Wait()
				same("afterwards")
				// What the guest left, the caller reads.
				if _, err := feed.WriteString("rest"); err != nil {
					t.Fatal(err)
				}
				testhost.Expect(t, in, "rest")
			}
		})
	}
}
