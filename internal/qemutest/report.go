package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Kinds of reports from init. On the console each is a line of the marker, the
// kind and the fields, separated by spaces.
const (
	reportStart = "start" // number of the job
	reportEnd   = "end"   // number of the job, exit status or -1 for a signal, seconds
	reportError = "error" // what went wrong in init itself
	reportDone  = "done"  // all jobs were run
)

// report reads the virtual machine's console, shows it and keeps account of the
// jobs.
type report struct {
	plan   *plan
	out    io.Writer
	line   []byte // incomplete
	status []string
	counts map[string]int // of tests, by "PASS", "FAIL" and "SKIP"
	errs   []error
	done   bool
}

func newReport(p *plan, out io.Writer) *report {
	return &report{plan: p, out: out, status: make([]string, len(p.Jobs)), counts: map[string]int{}}
}

// Write takes some of the console's output.
func (r *report) Write(b []byte) (int, error) {
	r.line = append(r.line, b...)
	for {
		line, rest, ok := bytes.Cut(r.line, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		r.line = rest
		r.add(strings.TrimRight(string(line), "\r"))
	}
}

func (r *report) add(line string) {
	s, ok := strings.CutPrefix(line, r.plan.Marker+" ")
	if !ok {
		for _, word := range []string{"PASS", "FAIL", "SKIP"} {
			if strings.HasPrefix(strings.TrimLeft(line, " "), "--- "+word+": ") {
				r.counts[word]++
			}
		}
		fmt.Fprintln(r.out, line)
		return
	}
	kind, s, _ := strings.Cut(s, " ")
	switch kind {
	case reportStart:
		if i, ok := r.job(s); ok {
			fmt.Fprintf(r.out, "=== %s\n", r.plan.Jobs[i].Name)
		}
	case reportEnd:
		number, s, _ := strings.Cut(s, " ")
		status, seconds, _ := strings.Cut(s, " ")
		if i, ok := r.job(number); ok {
			r.status[i] = status
			fmt.Fprintf(r.out, "=== %s: status %s after %s s\n", r.plan.Jobs[i].Name, status, seconds)
		}
	case reportDone:
		r.done = true
	default:
		r.errs = append(r.errs, fmt.Errorf("inside: %s", s))
	}
}

func (r *report) job(number string) (int, bool) {
	i, err := strconv.Atoi(number)
	return i, err == nil && i >= 0 && i < len(r.status)
}

var (
	errNotDone = errors.New("the virtual machine ended before its jobs: see the console above")
	errNoTest  = errors.New("no test passed: nothing was tested")
)

// verdict says whether all is well: nil only when every job ended with status 0
// and, if there were tests, one passed.
func (r *report) verdict() error {
	if len(r.line) > 0 {
		fmt.Fprintf(r.out, "%s\n", r.line)
	}
	tests := false
	errs := r.errs
	for i, j := range r.plan.Jobs {
		tests = tests || j.Test
		if r.status[i] == "" {
			errs = append(errs, fmt.Errorf("%s: did not end", j.Name))
		} else if r.status[i] != "0" {
			errs = append(errs, fmt.Errorf("%s: status %s", j.Name, r.status[i]))
		}
	}
	if !r.done {
		errs = append(errs, errNotDone)
	}
	if tests {
		fmt.Fprintf(r.out, "tests and subtests: %d passed, %d failed, %d skipped\n",
			r.counts["PASS"], r.counts["FAIL"], r.counts["SKIP"])
		if r.counts["PASS"] == 0 {
			errs = append(errs, errNoTest)
		}
	}
	return errors.Join(errs...)
}
