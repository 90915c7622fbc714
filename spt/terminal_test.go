package spt

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/testhost"
)

// TestTerminal has a guest whose input, output and messages are one terminal, as
// in a shell. However it ends, the terminal's flags and modes are as before.
func TestTerminal(t *testing.T) {
	for _, end := range []struct {
		name   string
		how    func(p *testhost.Process, master *os.File)
		status int
	}{
		{"end of input", func(_ *testhost.Process, m *os.File) { m.Write([]byte{4}) }, 0},
		{"^C", func(_ *testhost.Process, m *os.File) { m.Write([]byte{3}) }, 128 + int(unix.SIGINT)},
		{"^\\", func(_ *testhost.Process, m *os.File) { m.Write([]byte{0x1c}) }, 128 + int(unix.SIGQUIT)},
		{"SIGTERM", func(p *testhost.Process, _ *os.File) { p.Signal(unix.SIGTERM) }, 128 + int(unix.SIGTERM)},
		{"SIGKILL", func(p *testhost.Process, _ *os.File) { p.Signal(unix.SIGKILL) }, 128 + int(unix.SIGKILL)},
		{"fault", func(p *testhost.Process, _ *os.File) { p.Signal(unix.SIGSEGV) }, 128 + int(unix.SIGSEGV)},
	} {
		for _, run := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/run %v", end.name, run), func(t *testing.T) {
				master, slave := testhost.RawPTY(t)
				testhost.SetCanonical(t, slave)
				before := testhost.SharedState(t, slave)
				u := cat(t, guests.Advanced)
				c := &testhost.Command{Path: u.seal(t)}
				if run {
					c = u.command(t)
				}
				c.Files = []*os.File{slave, slave, slave}
				c.Attr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
				p := c.Start(t)
				same := func(when string) {
					t.Helper()
					if now := testhost.SharedState(t, slave); now != before {
						t.Errorf("%+v before, %+v %s", before, now, when)
					}
				}
				p.WaitAsleep()
				same("while it runs")
				for range 3 {
					if _, err := master.WriteString("line\n"); err != nil {
						t.Fatal(err)
					}
					testhost.Expect(t, master, "line\n")
				}
				same("while it runs")
				p.WaitAsleep()
				end.how(p, master)
				if got := testhost.Status(p.Wait()); got != end.status {
					t.Errorf("status %d, want %d", got, end.status)
				}
				same("afterwards")
			})
		}
	}
}

// TestTerminalUnderLoad copies more than a terminal holds through one that is
// input and output at once, to a reader that is slow.
func TestTerminalUnderLoad(t *testing.T) {
	for _, nonblocking := range []bool{false, true} {
		master, slave := testhost.RawPTY(t)
		if err := unix.SetNonblock(int(slave.Fd()), nonblocking); err != nil {
			t.Fatal(err)
		}
		before := flags(t, slave)
		c := testhost.Command{Path: cat(t, guests.Advanced).seal(t), Files: []*os.File{slave, slave, testhost.Null(t)}}
		p := c.Start(t)
		p.WaitAsleep()
		data := large[:200_000]
		go master.Write(data)
		var got []byte
		buf := make([]byte, 2000)
		for len(got) < len(data) {
			if len(got)%5 == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			n, err := master.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		if string(got) != string(data) {
			t.Errorf("equal up to %d", common(string(got), string(data)))
		}
		p.WaitAsleep()
		p.Signal(unix.SIGKILL)
		p.Wait()
		if after := flags(t, slave); after != before {
			t.Errorf("flags %#x before, %#x after", before, after)
		}
	}
}

// TestTerminalMaster has the other side of a pseudoterminal as input.
func TestTerminalMaster(t *testing.T) {
	for name, u := range cats(t) {
		master, slave := testhost.RawPTY(t)
		stdout := testhost.Memfd(t)
		c := testhost.Command{Path: u.seal(t), Files: []*os.File{master, stdout, testhost.Null(t)}}
		before := flags(t, master)
		p := c.Start(t)
		if _, err := slave.WriteString("from the terminal"); err != nil {
			t.Fatal(err)
		}
		for len(testhost.Contents(t, stdout)) < len("from the terminal") && p.Running() {
		}
		p.WaitAsleep()
		p.Signal(unix.SIGTERM)
		status := p.Wait()
		if out := testhost.Contents(t, stdout); status.Signal() != unix.SIGTERM || out != "from the terminal" {
			t.Errorf("%s: status %#x, stdout %q", name, status, out)
		}
		if after := flags(t, master); after != before {
			t.Errorf("%s: flags %#x before, %#x after", name, before, after)
		}
	}
}
