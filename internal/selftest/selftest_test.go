//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0
package selftest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/tender"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// The test binary is also gocat run, and by other names a gocat that does not
// confine its guests or is careless with what it inherits.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		if fault, ok := faults[filepath.Base(os.Args[0])]; ok {
			fault()
		}
		status, _ := tender.Main(os.Args[2:], nil)
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// faults are what a faulty gocat does before it runs a guest.
var faults = map[string]func(){
	"survives": func() { os.Exit(cameBack) },
	"silent":   func() { unix.Kill(os.Getpid(), unix.SIGSYS) },
	"refuses":  func() { os.Exit(tender.Complain(errors.New("no memory"), tender.NotStarted)) },
	"prints":   func() { fmt.Print("hello") },
	"file":     func() { unix.Pwrite(fdFile, []byte("x"), 3) },
	"longer":   func() { unix.Ftruncate(fdFile, 4096) },
	"offset":   func() { unix.Seek(fdFile, 0, 0) },
	"pipe":     func() { unix.Read(fdRead, make([]byte, 1)) },
	"flags":    func() { unix.SetNonblock(fdWrite, true) },
	"disk":     func() { unix.Pwrite(fdSmall, []byte("x"), 512) },
	"child": func() {
		if pid, _, _ := unix.RawSyscall(unix.SYS_FORK, 0, 0, 0); pid == 0 {
			unix.Nanosleep(&unix.Timespec{Sec: 2}, nil)
			unix.Exit(0)
		}
	},
}

// program is this program as gocat, by another name if that is not "".
func program(t *testing.T, name string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if name == "" {
		return self
	}
	link := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	return link
}

func attackWith(t *testing.T, s Setting) {
	testhost.Slow(t)
	attacks := Attacks(s)
	table := NewTable([]Setting{s}, attacks)
	path := program(t, "")
	if s == HVT || s == CPL0 {
		path = testhost.Gocat(t)
	}
	if err := Run(path, attacks, table.Add); err != nil {
		t.Error(err)
	}
	for _, f := range append(table.Failures, table.NotStarted...) {
		t.Errorf("%s: %s: %v; want %v", f.Group, f.Name, f.Err, f.Want)
	}
	if table.Tried != len(attacks) {
		t.Errorf("%d attacks tried, of %d", table.Tried, len(attacks))
	}
	for _, row := range table.Rows {
		t.Logf("%5d %s: %v", row.Cells[s].Tried, row.Group, row.Cells[s])
	}
	t.Logf("%5d attacks", table.Tried)
}

func needKVM(t *testing.T) {
	t.Helper()
	if err := kvmhvt.Available(); err != nil {
		testhost.Skip(t, err.Error())
	}
}

func TestSPT(t *testing.T)    { attackWith(t, SPT) }
func TestStrict(t *testing.T) { attackWith(t, Strict) }
func TestHVT(t *testing.T)    { needKVM(t); attackWith(t, HVT) }
func TestCPL0(t *testing.T)   { needKVM(t); attackWith(t, CPL0) }

// TestNames has names by which attacks can be told apart.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range Attacks(Settings()...) {
		name := fmt.Sprintf("%v: %s: %s", a.Setting, a.Group, a.Name)
		if seen[name] {
			t.Errorf("two attacks are %s", name)
		}
		seen[name] = true
		if len(a.Want) == 0 || len(a.Group) > 45 {
			t.Errorf("%s: %d documented ends, a group of %d characters", name, len(a.Want), len(a.Group))
		}
	}
}

// TestFaultyGocat has programs that are not gocat, or do what gocat must not.
func TestFaultyGocat(t *testing.T) {
	for name, want := range map[string]string{
		"survives": "so no other was tried",
		"silent":   "so no other was tried",
		"refuses":  `standard error "gocat: no memory\n"`,
		"prints":   `standard output "hello"`,
		"file":     "a file that it was not given",
		"longer":   "a file that it was not given",
		"offset":   "the offset of a file",
		"pipe":     "a pipe that it was not given",
		"flags":    "the flags of a pipe",
		"disk":     "the disk small",
	} {
		attacks := Attacks(SPT, Strict)
		tried := 0
		err := Run(program(t, name), attacks, func(r Result) {
			tried++
			if r.Err == nil {
				t.Errorf("%s: %s: %s passes", name, r.Group, r.Name)
			}
		})
		if err == nil || !strings.Contains(err.Error(), want) || tried != 2 {
			t.Errorf("%s: %d attacks tried, %v", name, tried, err)
		}
	}
	attacks := Attacks(SPT)
	if err := Run(program(t, "child"), attacks[:3], func(Result) {}); err == nil || !strings.Contains(err.Error(), "a process that still runs") {
		t.Errorf("left a process: %v", err)
	}
	for { // until that has ended
		if _, err := unix.Wait4(-1, nil, unix.WALL, nil); err == unix.ECHILD {
			break
		}
	}
}

// TestCallerMemory has memory of this process that somebody has written to.
func TestCallerMemory(t *testing.T) {
	g, err := newGiven()
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	if err := g.untouched(); err != nil {
		t.Error(err)
	}
	callerMemory[callerSize-1] = 1
	if err := g.untouched(); err == nil || !strings.Contains(err.Error(), "memory of the process that started it") {
		t.Errorf("%v", err)
	}
	if err := g.untouched(); err != nil {
		t.Errorf("it was to be made good: %v", err)
	}
}

// TestMissing has a program that cannot be started.
func TestMissing(t *testing.T) {
	tried := 0
	err := Run("/nonexistent", Attacks(SPT), func(r Result) { tried++ })
	if err == nil || !strings.Contains(err.Error(), "no such file") || tried != 1 {
		t.Errorf("%d attacks, %v", tried, err)
	}
}

// A guest that gocat did not start is counted apart: nobody knows whether it would
// have been stopped.
func TestNotStarted(t *testing.T) {
	attacks := Attacks(SPT)[:3]
	table := NewTable([]Setting{SPT}, attacks)
	for _, a := range attacks {
		g, err := newGiven()
		if err != nil {
			t.Fatal(err)
		}
		table.Add(a.attack(program(t, "refuses"), g))
		g.close()
	}
	if len(table.NotStarted) != len(attacks) || len(table.Failures) != 0 || table.Tried != len(attacks) {
		t.Errorf("%d not started, %d not stopped, of %d", len(table.NotStarted), len(table.Failures), table.Tried)
	}
	if cell := table.row(attacks[0].Group).Cells[SPT].String(); !strings.HasSuffix(cell, "not started") {
		t.Errorf("the table says %q", cell)
	}
}
