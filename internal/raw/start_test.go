package raw_test

import (
	"context"
	"debug/dwarf"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/testhost"
)

// early is the program in testdata/needs as make build links gocat; ordinary is
// the same with Go's own entry point.
var early, ordinary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "early")
	if err == nil {
		defer os.RemoveAll(dir)
		early, ordinary = filepath.Join(dir, "early"), filepath.Join(dir, "ordinary")
		if err = build(early, "-ldflags=-s -w -E main.entry"); err == nil {
			err = build(ordinary)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(path string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-buildvcs=false", "-o", path}, flags...), "./testdata/needs")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// run returns what a program printed, with its status.
func run(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatalf("%q: %v", args, err)
	}
	return fmt.Sprintf("%s%v\n", out, cmd.ProcessState)
}

// The runtime has its fields where start_amd64.s says.
func TestRuntime(t *testing.T) {
	file, err := elf.Open(ordinary)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data, err := file.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"stackguard0": 16, "m": 48}
	entries := data.Reader()
	for {
		e, err := entries.Next()
		if err != nil || e == nil {
			t.Fatalf("no type runtime.g: %v", err)
		}
		if e.Tag == dwarf.TagStructType && e.Val(dwarf.AttrName) == "runtime.g" {
			break
		}
	}
	for {
		e, err := entries.Next()
		if err != nil || e == nil || e.Tag != dwarf.TagMember {
			break
		}
		name, _ := e.Val(dwarf.AttrName).(string)
		if offset, ok := want[name]; ok {
			delete(want, name)
			if got := e.Val(dwarf.AttrDataMemberLoc); got != offset {
				t.Errorf("%s: g.%s at %v, start_amd64.s has it at %d", runtime.Version(), name, got, offset)
			}
		}
	}
	for name := range want {
		t.Errorf("%s: runtime.g has no field %s", runtime.Version(), name)
	}
}

// The numbers that start_amd64.s repeats.
func TestNumbers(t *testing.T) {
	testhost.Defines(t, "start_amd64.s", map[string]uint64{"SYS_arch_prctl": unix.SYS_ARCH_PRCTL, "ARCH_SET_FS": abi.ArchSetFS})
}

// With a runtime that has another layout nothing runs early, and that is all.
func TestOtherLayout(t *testing.T) {
	source, err := filepath.Abs("start_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const offset = "#define g_m 48\n"
	if !strings.Contains(string(text), offset) {
		t.Fatalf("start_amd64.s has no %q", offset)
	}
	dir := t.TempDir()
	other := filepath.Join(dir, "other.s")
	// Where stackguard0 is, m fails every check of the stack.
	moved := strings.Replace(string(text), offset, "#define g_m 16\n", 1)
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: other}})
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	if err := errors.Join(os.WriteFile(other, []byte(moved), 0o644),
		os.WriteFile(dir+"/overlay", overlay, 0o644),
		build(program, "-overlay="+dir+"/overlay", "-ldflags=-E main.entry")); err != nil {
		t.Fatal(err)
	}
	for _, need := range []string{"succeed", "new"} {
		if got := run(t, program, need); !strings.HasPrefix(got, "begun false ended false early false ") || !strings.HasSuffix(got, "\nexit status 0\n") {
			t.Errorf("%s: %q", need, got)
		}
	}
}

// A function that needs nothing runs, and nothing of the runtime does: half the
// address space that it reserves would be too much.
func TestWithoutRuntime(t *testing.T) {
	for _, test := range []struct{ program, want string }{
		{early, "early\nexit status 7\n"},
		{ordinary, "failed to reserve"},
	} {
		got := run(t, "/bin/sh", "-c", `ulimit -v 32768; exec "$0" succeed`, test.program)
		if !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.program, got, test.want)
		}
	}
}

// Whatever needs the runtime leads to the ordinary start, and what main finds is
// what it finds in a program without an early start.
func TestNeeds(t *testing.T) {
	out, err := exec.Command(ordinary, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(names) < 50 {
		t.Fatalf("only %d needs: %q", len(names), names)
	}
	for _, disturbed := range []bool{false, true} {
		command := func(program, need string) []string {
			if disturbed {
				return []string{ordinary, "disturbed", program, need}
			}
			return []string{program, need}
		}
		for _, name := range append(names, "returns") {
			want := run(t, command(ordinary, name)...)
			want = strings.Replace(want, "begun false ended false early false", "begun true ended false early false", 1)
			got := run(t, command(early, name)...)
			if got != want || !strings.Contains(got, "\nsum 5068800 map[one:1]\nexit status 0\n") {
				t.Errorf("%s, disturbed %v: got\n%swant\n%s", name, disturbed, got, want)
			}
		}
	}
}

// Where nothing early is tried, the ordinary start follows too.
func TestNotTried(t *testing.T) {
	many := make([]string, 10000)
	for i := range many {
		many[i] = "succeed"
	}
	if got := run(t, append([]string{early}, many...)...); !strings.HasPrefix(got, "begun false ") {
		t.Errorf("10000 arguments: %.200q", got)
	}
	for fd := range 3 {
		if got := run(t, "/bin/sh", "-c", fmt.Sprintf(`exec "$0" succeed 3>&1 %d>&- | cat`, fd), early); fd != 1 && !strings.HasPrefix(got, "begun false ") {
			t.Errorf("descriptor %d closed: %q", fd, got)
		}
	}
}

// The process's first stack may be small, and what is on it large.
func TestStack(t *testing.T) {
	for _, kib := range []int{128, 1024, 64 << 10} {
		for _, need := range []string{"succeed", "recursion"} {
			want := map[string]string{"succeed": "early\nexit status 7\n", "recursion": "exit status 0\n"}[need]
			got := run(t, "/bin/sh", "-c", fmt.Sprintf(`ulimit -Ss %d; exec "$0" %s`, kib, need), early)
			if !strings.HasSuffix(got, want) {
				t.Errorf("%d KiB, %s: %q", kib, need, got)
			}
		}
	}
}

// A mapped page zero does not hide a fault (MMAP_PAGE_ZERO of personality(2)).
func TestPageZero(t *testing.T) {
	testhost.Personality(t, testhost.PageZero, func() {
		for _, need := range []string{"new", "sprintf", "panic", "system call", "map write"} {
			if got := run(t, early, need); !strings.HasPrefix(got, "begun true ended false ") || !strings.HasSuffix(got, "exit status 0\n") {
				t.Errorf("%s: %q", need, got)
			}
		}
	})
}
