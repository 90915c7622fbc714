package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocat/internal/image"
	"gocat/internal/ps"
	"gocat/internal/testhost"
)

// startOnPipe starts a program that reads a pipe which stays open, and has it killed
// when t is over.
func startOnPipe(t *testing.T, path string, args ...string) int {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = r
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		w.Close()
	})
	return cmd.Process.Pid
}

// listed waits until gocat ps lists the process.
func listed(t *testing.T, pid int) ps.Guest {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		for _, g := range parse[[]ps.Guest](t, gocat(t, "ps", "--format=json")) {
			if g.PID == pid {
				return g
			}
		}
	}
	t.Fatalf("gocat ps does not list %d:\n%s", pid, gocat(t, "ps").stdout)
	return ps.Guest{}
}

// What gocat ps and ps show of guests: what they were given, and no argument of
// their own.
func TestPS(t *testing.T) {
	cat := filepath.Join(t.TempDir(), "my.spt")
	gocat(t, "guest", "-o", cat).wantSuccess(t)
	sealed := filepath.Join(t.TempDir(), "sealed")
	gocat(t, "seal", "-o", sealed, "--name=box", "--net", "stdin=@0", "--mem=4", cat, "--solo5:quiet", "-l", "netif:quiet").wantSuccess(t)
	const secret = "-l"
	for _, test := range []struct {
		name, path string
		args       []string
		want       ps.Guest
		title      string
	}{
		{"spt", program, []string{"run", "--mem=16", "--name", "web.1", "--net=stdin=@0", cat, "--solo5:quiet", secret, "netif:quiet"},
			ps.Guest{Backend: "spt", Name: "web.1", Image: "my.spt", Memory: 16 << 20}, "gocat run --backend=spt --mem=16 --name=web.1 my.spt"},
		{"bundled", program, []string{"run"}, ps.Guest{Backend: "spt", Name: "cat", Memory: 512 << 20}, "gocat run --backend=spt --mem=512"},
		{"sealed", sealed, nil, ps.Guest{Backend: "spt", Name: "box", Image: "my.spt", Sealed: true, Memory: 4 << 20}, "gocat sealed --backend=spt --mem=4 --name=box my.spt"},
		{"drop-in", links + "/solo5-spt", []string{"--net:stdin=@0", cat, "--solo5:quiet", secret, "netif:quiet"},
			ps.Guest{Backend: "spt", Name: "my", Image: "my.spt", Memory: 512 << 20}, "gocat run --backend=spt --mem=512 my.spt"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pid := startOnPipe(t, test.path, test.args...)
			got := listed(t, pid)
			if age := time.Since(got.Since); age < -10*time.Second || age > 10*time.Minute {
				t.Errorf("since %v", got.Since)
			}
			if strings.Join(got.Devices, " ") != "pipe" {
				t.Errorf("devices %q", got.Devices)
			}
			test.want.PID, test.want.UID, test.want.Since, test.want.Devices = pid, os.Getuid(), got.Since, got.Devices
			if got.PID != test.want.PID || got.Name != test.want.Name || got.Image != test.want.Image || got.Memory != test.want.Memory ||
				got.Backend != test.want.Backend || got.Sealed != test.want.Sealed || got.UID != test.want.UID {
				t.Errorf("%+v, want %+v", got, test.want)
			}
			if got := testhost.Cmdline(t, pid); got != test.title {
				t.Errorf("command line %q, want %q", got, test.title)
			}
			if line := gocat(t, "ps").wantSuccess(t).stdout; !strings.Contains(line, test.want.Name) {
				t.Errorf("the table lacks it:\n%s", line)
			}
		})
	}
}

func TestPSHVT(t *testing.T) {
	needKVM(t)
	cat := filepath.Join(t.TempDir(), "my.hvt")
	gocat(t, "guest", "--backend=hvt", "-o", cat).wantSuccess(t)
	sealed := filepath.Join(t.TempDir(), "sealed")
	gocat(t, "seal", "-o", sealed, "--name=box", "--net=stdin=@0", "--mem=16", cat, "--solo5:quiet", "-l", "netif:quiet").wantSuccess(t)
	// Its tender's name and command line, as of an spt guest.
	for _, test := range []struct {
		program    string
		args       []string
		comm, line string
	}{
		{program, []string{"run", "--name=web.1", "--net=stdin=@0", cat, "--solo5:quiet", "-l", "netif:quiet"},
			"web.1", program + " run --name=web.1 --net=stdin=@0 " + cat},
		{filepath.Join(links, "solo5-hvt"), []string{"--net:stdin=@0", cat, "--solo5:quiet", "-l", "netif:quiet"},
			"my", filepath.Join(links, "solo5-hvt") + " --net:stdin=@0 " + cat},
		{sealed, nil, "box", "gocat sealed --backend=hvt --mem=16 --name=box my.hvt"},
	} {
		pid := startOnPipe(t, test.program, test.args...)
		comm, line := "", ""
		for i := 0; i < 500 && comm != test.comm; i++ { // a tender that starts has its own
			time.Sleep(20 * time.Millisecond)
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if err != nil {
				t.Fatal(err)
			}
			comm, line = strings.TrimSpace(string(b)), testhost.Cmdline(t, pid)
		}
		if comm != test.comm || strings.TrimRight(line, " ") != test.line {
			t.Errorf("named %q with command line %q, want %q and %q", comm, line, test.comm, test.line)
		}
	}
	for _, test := range []struct {
		program string
		args    []string
		want    ps.Guest
	}{
		{program, []string{"run", "--backend=hvt", "--mem=8"}, ps.Guest{Name: "cat", Memory: 8 << 20}},
		{sealed, nil, ps.Guest{Name: "box", Image: "my.hvt", Sealed: true, Memory: 16 << 20}},
	} {
		pid := startOnPipe(t, test.program, test.args...)
		g := listed(t, pid)
		for i := 0; i < 500 && strings.Join(g.Devices, " ") != "pipe"; i++ { // a tender that starts has more
			time.Sleep(20 * time.Millisecond)
			g = listed(t, pid)
		}
		if g.Backend != image.HVT.String() || g.Name != test.want.Name || g.Memory != test.want.Memory || g.Image != test.want.Image ||
			g.Sealed != test.want.Sealed || strings.Join(g.Devices, " ") != "pipe" {
			t.Errorf("%+v, want %+v", g, test.want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a b", "../x", "\x1b", "a/b", strings.Repeat("x", 64), "é"} {
		gocat(t, "run", "--name="+name).wantError(t, "gocat", "--name: want 1 to 63 letters, digits, dots, dashes and underscores")
	}
}
