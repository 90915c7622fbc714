package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteJSON writes the report as JSON, with all values.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for people to read.
func (r *Report) WriteTable(w io.Writer) error {
	t := &text{w: w}
	t.printf("%s\n%s\n", r.Gocat, r.Host)
	t.printf("KVM:  %s\n", r.Host.KVM)
	t.printf("load: %s\n", r.Host.Load())
	t.printf("%s, %.0f s\n", r.Began.UTC().Format(time.DateTime+" UTC"), r.Seconds)
	if r.Incomplete != "" {
		t.printf("Incomplete: %s.\n", r.Incomplete)
	}
	t.printf("\n%s\n\n", legend)
	for _, s := range r.Subjects {
		t.printf("  %-*s  %s\n", r.width(), s.Name, s.About)
	}
	for _, b := range r.Benchmarks {
		t.printf("\n%s (%s)\n%s\n", b.Title, b.Name, b.About)
		if b.Incomplete != "" {
			t.printf("  Incomplete: %s.\n", b.Incomplete)
		}
		for _, m := range b.Metrics {
			if len(m.Rows) > 0 {
				t.metric(m, b.Base, r.width())
			}
		}
		for _, m := range b.Missing {
			not := "not measured"
			if m.Failed {
				not = "FAILED"
			}
			t.printf("  %-*s  %s: %s\n", r.width(), m.Subject, not, m.Reason)
		}
	}
	return t.err
}

// legend explains the numbers of a report.
const legend = `Medians with their 95 % confidence intervals. x: how many times the value of the
column's subject, the median over the rounds; ~: the difference is not
significant: the interval contains 1, or there are too few rounds for one.`

// width is that of the longest subject's name.
func (r *Report) width() int {
	n := 0
	for _, s := range r.Subjects {
		n = max(n, len(s.Name))
	}
	return n
}

// text prints until the first error, which it keeps.
type text struct {
	w   io.Writer
	err error
}

func (t *text) printf(format string, args ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, args...)
	}
}

// metric prints a table with a line a subject.
func (t *text) metric(m Metric, base string, width int) {
	columns := m.compared(base)
	header := fmt.Sprintf("  %-*s  %-14s  %6s", width, "", "median", "rounds")
	for _, c := range columns {
		header += fmt.Sprintf("  %-22s", "to "+c)
	}
	t.printf("  %s:\n%s\n", m.Title, strings.TrimRight(header, " "))
	for _, row := range m.Rows {
		line := fmt.Sprintf("  %-*s  %-14s  %6d", width, row.Subject, spread(row.Estimate, m.Unit), row.N)
		for _, c := range columns {
			cell := ""
			if ratio, ok := row.Ratio(c); ok {
				cell = times(ratio)
			} else if c == row.Subject {
				cell = "1"
			}
			line += fmt.Sprintf("  %-22s", cell)
		}
		t.printf("%s\n", strings.TrimRight(line, " "))
	}
}

// spread is an estimate with the distance of its interval's farther end.
func spread(e Estimate, unit string) string {
	s := human(e.Median, unit)
	if !e.Interval() || e.Median <= 0 {
		return s
	}
	return fmt.Sprintf("%s ±%.0f%%", s, 100*max(e.High-e.Median, e.Median-e.Low)/e.Median)
}

// times is a ratio with its interval.
func times(r Ratio) string {
	s := quotient(r.Median) + "x"
	if r.Interval() {
		s += " [" + quotient(r.Low) + ", " + quotient(r.High) + "]"
	}
	if !r.Significant() {
		s += " ~"
	}
	return s
}
