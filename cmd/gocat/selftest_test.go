package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/selftest"
	"gocat/internal/testhost"
)

// TestSelftest has the command's own: package selftest tests the attacks.
func TestSelftest(t *testing.T) {
	testhost.Slow(t)
	forAll(t)
	r := call{nobody: os.Geteuid() == 0, dir: "/", args: []string{"selftest", "--backend=spt", "--format=json", "-v"}}.run(t)
	var d selftestDescription
	if err := json.Unmarshal([]byte(r.stdout), &d); err != nil || r.status != 0 || r.stderr != "" {
		t.Fatalf("%v: status %d, stderr %q", err, r.status, r.stderr)
	}
	if d.Tried < 4000 || d.Stopped != d.Tried || len(d.Attacks) != d.Tried || len(d.Failures) != 0 || len(d.Rows) < 20 {
		t.Errorf("%d attacks tried, %d stopped, %d named, %d failed, %d rows", d.Tried, d.Stopped, len(d.Attacks), len(d.Failures), len(d.Rows))
	}
	for _, row := range d.Rows {
		for on, c := range row.On {
			if on != "spt" && on != "strict" || c.Tried == 0 || c.Stopped != c.Tried {
				t.Errorf("%s on %s: %+v", row.Attack, on, c)
			}
		}
	}
}

// forAll lets every user run the program.
func forAll(t *testing.T) {
	t.Helper()
	if err := os.Chmod(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestSelftestOptions(t *testing.T) {
	for _, args := range [][]string{{"--backend=xen"}, {"--format=xml"}, {"now"}} {
		r := call{args: append([]string{"selftest"}, args...)}.run(t)
		if r.status != 1 || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// TestSelftestWithoutKVM has a host without KVM: it is an error only for those
// who ask for hvt.
func TestSelftestWithoutKVM(t *testing.T) {
	testhost.NeedRoot(t, "to hide /dev/kvm")
	if _, err := os.Stat("/dev/kvm"); err != nil {
		testhost.Skip(t, "no /dev/kvm to hide: "+err.Error())
	}
	cmd := exec.Command("/bin/sh", "-c", `mount --bind /dev/null /dev/kvm && exec "$0" selftest --backend=hvt`, program)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(string(out), "gocat: no hvt guests on this host: KVM: ") || bytes.Count(out, []byte("\n")) != 1 {
		t.Errorf("%v: %s", err, out)
	}
	table := selftest.NewTable([]selftest.Setting{selftest.SPT}, nil)
	table.Add(selftest.Result{Attack: &selftest.Attack{Group: "g"}, Outcome: selftest.Outcome{Word: selftest.Killed}})
	table.Add(selftest.Result{Attack: &selftest.Attack{Group: "g", Name: "n"}, Err: errors.New("it lives")})
	var b strings.Builder
	if err := printSelftest(&b, table, errors.New("no hvt guests")); err != nil {
		t.Fatal(err)
	}
	want := `ATTACK  spt                      strict  hvt     cpl0
g       1 killed, 1 NOT STOPPED  -       no KVM  no KVM
NOT STOPPED: spt: g: n: it lives
no hvt guests
2 attacks, 1 stopped
`
	if b.String() != want {
		t.Errorf("got  %s\nwant %s", b.String(), want)
	}
}

// TestSelftestKilled kills the command: nothing of it is left.
func TestSelftestKilled(t *testing.T) {
	t.Parallel()
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGINT, unix.SIGQUIT} {
		temp := t.TempDir()
		cmd := exec.Command(program, "selftest")
		cmd.Env = append(os.Environ(), "TMPDIR="+temp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if !groupRuns(t, cmd.Process.Pid) {
			t.Fatal("it does not run")
		}
		cmd.Process.Signal(sig)
		cmd.Wait()
		if said.Len() > 0 {
			t.Errorf("after %v: %q", sig, said.String())
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("after %v: %v, %v", sig, left, err)
		}
		// Guests are killed with it, and gone a moment later.
		for start := time.Now(); groupRuns(t, cmd.Process.Pid); time.Sleep(10 * time.Millisecond) {
			if time.Since(start) > 10*time.Second {
				t.Fatalf("after %v processes of it still run", sig)
			}
		}
	}
}

// groupRuns says whether a process of a group runs.
func groupRuns(t *testing.T, group int) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range all {
		b, _ := os.ReadFile(stat)
		// PID (NAME) STATE PARENT GROUP ...
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" && f[0] != "X" {
			return true
		}
	}
	return false
}
