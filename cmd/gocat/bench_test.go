package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/bench"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// benchmark runs gocat bench in a directory for temporary files of its own, which
// must be empty afterwards.
func benchmark(t *testing.T, args ...string) result {
	t.Helper()
	tmp := t.TempDir()
	r := call{args: append([]string{"bench"}, args...), env: []string{"TMPDIR=" + tmp}, dir: tmp}.run(t)
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return r
}

// report reads a report in JSON.
func report(t *testing.T, r result) *bench.Report {
	t.Helper()
	got := new(bench.Report)
	if err := json.Unmarshal([]byte(r.stdout), got); err != nil {
		t.Fatalf("%v: status %d, stderr %q", err, r.status, r.stderr)
	}
	return got
}

// TestBenchQuick measures everything once or more; how fast it is, is not tested.
func TestBenchQuick(t *testing.T) {
	testhost.Slow(t)
	began := time.Now()
	r := benchmark(t, "--quick", "--count=1", "--format=json")
	if took := time.Since(began); took > 45*time.Second { // a third of it for a busy host
		t.Errorf("it took %v", took)
	}
	if r.status != 0 || r.stderr != "" {
		t.Fatalf("status %d, stderr %q", r.status, r.stderr)
	}
	got := report(t, r)
	if got.Incomplete != "" {
		t.Logf("a busy host: %s", got.Incomplete)
		return
	}
	if !strings.HasPrefix(got.Host.Kernel, "Linux ") || got.Host.KVM == "" || got.Host.CPU == "" || got.Host.LoadAfter[2] == "" {
		t.Errorf("host %+v", got.Host)
	}
	want := map[string]string{
		"start":            "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"first-byte":       "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"throughput/4KiB":  "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"throughput/64KiB": "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"throughput/1MiB":  "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"round-trip/clock": "spt sealed hvt hvt-cpl0",
		"round-trip/read":  "spt sealed hvt hvt-cpl0 hvt-ring",
		"wake-up":          "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"memory":           "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"idle":             "cat spt sealed hvt hvt-cpl0 hvt-ring",
		"snapshot/0MB":     "sealed warm warm-hvt hvt",
		"snapshot/100MB":   "sealed warm warm-hvt hvt",
	}
	noKVM := kvmhvt.Available()
	for _, b := range got.Benchmarks {
		for _, m := range b.Metrics {
			var subjects []string
			base := 0.0
			for _, row := range m.Rows {
				if row.Subject == b.Base && len(row.Values) == 1 {
					base = row.Values[0] // a difference of two runs, which on a busy host may be negative
				}
			}
			for _, row := range m.Rows {
				subjects = append(subjects, row.Subject)
				if len(row.Values) != 1 || row.N != 1 || row.Median != row.Values[0] {
					t.Errorf("%s: %+v", b.Name, row)
				}
				if row.Subject != b.Base && b.Name != "idle" && row.Values[0] > 0 && base > 0 && (len(row.Ratios) == 0 || row.Ratios[0].To != b.Base) {
					t.Errorf("%s: %s is not compared with %s", b.Name, row.Subject, b.Base)
				}
			}
			if noKVM != nil {
				for _, missing := range b.Missing {
					subjects = append(subjects, missing.Subject)
				}
			}
			if s := strings.Join(subjects, " "); s != want[b.Name] {
				t.Errorf("%s measured %q, want %q", b.Name, s, want[b.Name])
			}
		}
		if noKVM == nil && len(b.Missing) > 0 {
			t.Errorf("%s: missing %+v", b.Name, b.Missing)
		}
		delete(want, b.Name)
	}
	if len(want) > 0 {
		t.Errorf("not measured: %v", want)
	}
}

// TestBenchGo measures a Go program as a process of the host and as a guest.
func TestBenchGo(t *testing.T) {
	testhost.Slow(t)
	r := benchmark(t, "--bench=^start/go$", "--count=1", "--format=json")
	if r.status != 0 || r.stderr != "" {
		t.Fatalf("status %d, stderr %q", r.status, r.stderr)
	}
	want := map[string]bool{"go": true, "spt": true, "sealed": true, "hvt": kvmhvt.Available() == nil}
	for _, b := range report(t, r).Benchmarks {
		if b.Base != "go" {
			t.Errorf("compared with %s", b.Base)
		}
		for _, row := range b.Metrics[0].Rows {
			if !want[row.Subject] || row.Median <= 0 {
				t.Errorf("row %+v", row)
			}
			delete(want, row.Subject)
		}
	}
	delete(want, "hvt")
	if len(want) > 0 {
		t.Errorf("not measured: %v", want)
	}
}

// solo5 writes a script that stands for a tender of Solo5's: it does the same
// whatever the guest.
func solo5(t *testing.T, kind, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), kind)
	text := "#!/bin/sh\ncase $1 in --version) echo '" + kind + " tender, version v1.2.3' >&2; echo 'ABI version 2' >&2; exit 0;; esac\n" + script + "\n"
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return kind + "=" + path
}

// A fast wrong answer is no result.
func TestBenchWrongResults(t *testing.T) {
	testhost.Slow(t)
	for _, test := range []struct {
		name, kind, script, benchmark string
		want                          string // of the failure; "": none
		missing                       string // reason, if it is not a failure
	}{
		{"a good cat", "solo5-spt", "exec cat", "throughput/64KiB", "", ""},
		{"a child that it leaves", "solo5-spt", "sleep 1000 & exec cat", "first-byte", "", ""},
		{"altered", "solo5-spt", `exec tr '\123' '\124'`, "throughput/64KiB", "wrong output: byte ", ""},
		{"cut short", "solo5-spt", "head -c 1000000; exec cat > /dev/null", "throughput/64KiB", "wrong output: 1000000 bytes of ", ""},
		{"too much", "solo5-spt", "cat; echo", "throughput/64KiB", "wrong output: byte ", ""},
		{"status", "solo5-spt", "cat; exit 7", "throughput/64KiB", "ended with status 7", ""},
		{"killed", "solo5-spt", "cat; kill -SEGV $$", "first-byte", "ended with status 139", ""},
		{"first byte", "solo5-spt", "printf y; cat > /dev/null", "first-byte", "wrong output: byte 0x79, not 0x78", ""},
		{"no answer", "solo5-spt", "cat > /dev/null", "wake-up", "gave no answer within", ""},
		{"silent failure", "solo5-spt", "exit 1", "start", "ended with status 1", ""},
		{"wrong line", "solo5-spt", "echo hello", "start", `wrong output: "hello\n"`, ""},
		{"refusal", "solo5-spt", "echo no such interface >&2; exit 1", "throughput/64KiB", "", "refused: no such interface"},
		{"refusal to start", "solo5-spt", "echo no such guest >&2; exit 1", "start", "", "refused: no such guest"},
		// As solo5-hvt does: no end of input.
		{"spins", "solo5-hvt", "cat; while :; do sleep 1; done", "throughput/64KiB", "", ""},
		{"no end", "solo5-spt", "cat; while :; do sleep 1; done", "first-byte", "did not end within", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.kind == "solo5-hvt" {
				if err := kvmhvt.Available(); err != nil {
					testhost.Skip(t, err.Error())
				}
			}
			r := benchmark(t, "--quick", "--count=2", "--format=json", "--bench=^"+test.benchmark+"$", "--subject=^(cat|solo5.*)$",
				"--peer", solo5(t, test.kind, test.script))
			got := report(t, r)
			if got.Incomplete != "" {
				t.Fatal(got.Incomplete)
			}
			name := test.kind + " v1.2.3"
			var missing bench.Missing
			for _, m := range got.Benchmarks[0].Missing {
				missing = m
			}
			rows := got.Benchmarks[0].Metrics[0].Rows
			switch {
			case test.want != "":
				line := "gocat: wrong results or failures: " + test.benchmark + ": " + name + ": " + missing.Reason + "\n"
				if r.status != 1 || r.stderr != line || !missing.Failed || missing.Subject != name || !strings.Contains(missing.Reason, test.want) {
					t.Errorf("status %d, stderr %q, %+v; want %q", r.status, r.stderr, missing, test.want)
				}
			case r.status != 0 || r.stderr != "" || missing.Failed || missing.Reason != test.missing:
				t.Errorf("status %d, stderr %q, %+v; want %q", r.status, r.stderr, missing, test.missing)
			}
			measured := test.want == "" && test.missing == ""
			if rows[0].Subject != "cat" || measured != (len(rows) == 2) {
				t.Errorf("rows %+v", rows)
			}
		})
	}
}

func TestBenchErrors(t *testing.T) {
	for _, test := range []struct {
		want string
		args []string
	}{
		{`--format: "xml": want table`, []string{"--format=xml"}},
		{"/nonexistent/x: no such file or directory", []string{"-o", "/nonexistent/x"}}, // before it measures
		{"/dev/null/x: not a directory", []string{"-o", "/dev/null/x"}},
		{"no file to write to", []string{"-o", ""}},
		{" is a directory: name a file", []string{"-o", t.TempDir()}},
		{"--bench: error parsing regexp", []string{"--bench=("}},
		{"--subject: error parsing regexp", []string{"--subject=["}},
		{"no benchmark matches \"nothing\"; there are start, first-byte,", []string{"--bench=nothing"}},
		{"nothing to measure matches \"nobody\"; there are cat, go, spt,", []string{"--subject=nobody"}},
		{"nothing to compare with", []string{"--subject=^spt$", "--bench=round-trip"}},
		{"nothing to compare with is called \"dog\"; there are cat, go, spt,", []string{"--base=dog"}},
		{"want solo5-hvt=PATH", []string{"--peer=cat"}},
		{"--count: want a positive number", []string{"--count=0"}},
		{"unknown option --fast", []string{"--fast"}},
	} {
		r := gocat(t, append([]string{"bench"}, test.args...)...)
		r.wantError(t, "gocat", test.want)
	}
}

// startBench starts gocat bench on a benchmark that has no end, with many guests at
// the same time, and waits until there are some. This process adopts whom it
// leaves.
func startBench(t *testing.T, out string) *exec.Cmd {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) })
	cmd := exec.Command(program, "bench", "--count=1000000", "--bench=^(start|idle)$", "--subject=^(cat|spt|sealed|hvt)$", "--format=json", "-o", out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); len(grandchildren(cmd.Process.Pid)) == 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("gocat bench starts nothing")
		}
	}
	return cmd
}

// wantNobody fails t unless all processes that this one has adopted end.
func wantNobody(t *testing.T) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		left := children(t)
		if len(left) == 0 {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestBenchInterrupted(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		t.Run(s.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "report")
			cmd := startBench(t, out)
			cmd.Process.Signal(s)
			cmd.Process.Signal(s) // as timeout(1) does
			cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != 128+int(s) {
				t.Errorf("status %d", got)
			}
			b, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if got := report(t, result{stdout: string(b)}); got.Incomplete != "interrupted" || len(got.Failures()) > 0 {
				t.Errorf("incomplete: %q, failures %q", got.Incomplete, got.Failures())
			}
			wantNobody(t)
		})
	}
}

// nohup(1) has it ignore the end of its terminal.
func TestBenchNohup(t *testing.T) {
	script := "trap '' HUP; exec " + program + " bench --count=100 --bench=^start$ --subject='^(cat|spt)$' --format=json"
	cmd := exec.Command("sh", "-c", script)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); len(grandchildren(cmd.Process.Pid)) == 0 && time.Since(start) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGHUP)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := report(t, result{stdout: out.String()}); got.Incomplete != "" {
		t.Errorf("incomplete: %q", got.Incomplete)
	}
}

// However it is killed, nothing stays.
func TestBenchKilled(t *testing.T) {
	for i := range 5 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			dir := t.TempDir()
			cmd := startBench(t, filepath.Join(dir, "report"))
			time.Sleep(time.Duration(i) * 7 * time.Millisecond)
			cmd.Process.Kill()
			cmd.Wait()
			wantNobody(t)
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
