package main

import (
	"regexp"
	"testing"
)

// gocat run must have started its guest before the packages that only other
// commands need are initialised: see package fast.
func TestRunIsFast(t *testing.T) {
	slow := regexp.MustCompile(`(?m)^init (github\.com/spf13/|golang\.org/x/perf|html|net|regexp|text/template|gocat/cmd|gocat/internal/bench|main).* @`)
	trace := []string{"GODEBUG=inittrace=1"}
	for _, test := range []struct {
		name, program string
		args          []string
		want          bool // slow packages are initialised
	}{
		{"run", program, []string{"run", "/nonexistent"}, false},
		{"solo5-spt", links + "/solo5-spt", []string{"/nonexistent"}, false},
		{"run --help", program, []string{"run", "--help"}, true},
		{"version", program, []string{"version"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := call{program: test.program, args: test.args, env: trace}.run(t)
			if !regexp.MustCompile(`(?m)^init gocat/internal/|^init os @`).MatchString(r.stderr) {
				t.Fatalf("no trace of initialisers:\n%s", r.stderr)
			}
			if got := slow.FindString(r.stderr); (got != "") != test.want {
				t.Errorf("slow initialisers: %q; want any: %v\n%s", got, test.want, r.stderr)
			}
		})
	}
}
