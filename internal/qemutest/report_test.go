package main

import (
	"io"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	test, other := job{Name: "test", Test: true}, job{Name: "command"}
	const pass = "=== RUN   TestX\r\n--- PASS: TestX (0.00s)\r\n"
	for _, tt := range []struct {
		name    string
		jobs    []job
		console string
		want    string // of each error a part; "" is success
	}{
		{"all well", []job{test, other}, "@@M start 0\n" + pass + "@@M end 0 0 1.5\n@@M start 1\nhello\n@@M end 1 0 0.1\n@@M done\r\n", ""},
		{"command", []job{other}, "@@M end 0 0 1.5\n@@M done\n", ""},
		{"test fails", []job{test}, pass + "--- FAIL: TestY\n@@M end 0 1 1.5\n@@M done\n", "test: status 1"},
		{"killed", []job{other}, "@@M end 0 -1 1.5\n@@M done\n", "command: status -1"},
		{"second fails", []job{test, other}, pass + "@@M end 0 0 1\n@@M end 1 2 1\n@@M done\n", "command: status 2"},
		{"second missing", []job{test, other}, pass + "@@M end 0 0 1\n@@M done\n", "command: did not end"},
		{"only skipped", []job{test}, "--- SKIP: TestX (0.00s)\n@@M end 0 0 1\n@@M done\n", errNoTest.Error()},
		{"says it passed", []job{test}, "    x_test.go:1: --- PASS: TestX\n@@M end 0 0 1\n@@M done\n", errNoTest.Error()},
		{"no test", []job{test}, "testing: warning: no tests to run\nPASS\n@@M end 0 0 1\n@@M done\n", errNoTest.Error()},
		{"crash", []job{test}, "@@M start 0\n" + pass + "Kernel panic", "test: did not end\n" + errNotDone.Error()},
		{"crash at the end", []job{test}, pass + "@@M end 0 0 1\n@@M don", errNotDone.Error()},
		{"other marker", []job{other}, "@@N end 0 0 1\n@@N done\n", "command: did not end\n" + errNotDone.Error()},
		{"marker inside a line", []job{other}, "x @@M end 0 0 1\n@@M done\n", "command: did not end"},
		{"no such job", []job{other}, "@@M end 1 0 1\n@@M end -1 0 1\n@@M end x 0 1\n@@M done\n", "command: did not end"},
		{"init fails", []job{other}, "@@M error load kvm: no\n@@M end 0 0 1\n@@M done\n", "inside: load kvm: no"},
		{"silence", []job{other}, "", "command: did not end\n" + errNotDone.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 4096} { // of a write
				r := newReport(&plan{Marker: "@@M", Jobs: tt.jobs}, io.Discard)
				for s := tt.console; s != ""; {
					n := min(size, len(s))
					if _, err := r.Write([]byte(s[:n])); err != nil {
						t.Fatal(err)
					}
					s = s[n:]
				}
				got := ""
				if err := r.verdict(); err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("in writes of %d: %q, want %q", size, got, tt.want)
				}
			}
		})
	}
}

func TestReportShows(t *testing.T) {
	var out strings.Builder
	r := newReport(&plan{Marker: "@@M", Jobs: []job{{Name: "x", Test: true}}}, &out)
	io.WriteString(r, "\r\n@@M start 0\r\n--- PASS: A (0s)\r\n    --- SKIP: A/b (0s)\r\n@@M end 0 0 2.5\r\n@@M done\r\nlast")
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
	const want = "\n=== x\n--- PASS: A (0s)\n    --- SKIP: A/b (0s)\n=== x: status 0 after 2.5 s\nlast\n" +
		"tests and subtests: 1 passed, 0 failed, 1 skipped\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}

func TestParse(t *testing.T) {
	o := parse([]string{"-run=X", "-env", "A=1", "-env", "B=2", "./a", "./b"})
	if o.run != "X" || strings.Join(o.env, " ") != "A=1 B=2" || strings.Join(o.packages, " ") != "./a ./b" || o.command != nil {
		t.Errorf("%+v", o)
	}
	o = parse([]string{"-mem=512", "--", "gocat", "run", "--", "x"})
	if o.memory != 512 || len(o.packages) != 0 || strings.Join(o.command, " ") != "gocat run -- x" {
		t.Errorf("%+v", o)
	}
	if o = parse(nil); strings.Join(o.packages, " ") != "./kvmhvt ./internal/goguests" {
		t.Errorf("%+v", o)
	}
}

// TestJobStatus runs jobs as init does.
func TestJobStatus(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   int
	}{{"exit 0", 0}, {"exit 3", 3}, {"kill -9 $$", -1}, {`test "$GOCAT_JOB" = yes && test "$PWD" = /`, 0}} {
		t.Setenv("GOCAT_JOB", "") // and restores what run sets
		j := job{Args: []string{"/bin/sh", "-c", tt.script}, Dir: "/", Env: []string{"GOCAT_JOB=yes"}}
		if got, err := j.run(); got != tt.want || err != nil {
			t.Errorf("%s: %d, %v", tt.script, got, err)
		}
	}
	j := job{Args: []string{"/missing"}, Dir: "/"}
	if status, err := j.run(); status == 0 || err == nil {
		t.Errorf("%d, %v", status, err)
	}
}
