package bench

import (
	"io"
	"runtime"
	"strconv"
	"strings"
)

// WriteGo writes every value in the Go benchmark format, which benchstat reads:
// a line a round, so that it can tell how values vary. An operation is what the
// benchmark is about, of throughput a GiB.
func (r *Report) WriteGo(w io.Writer) error {
	t := &text{w: w}
	t.printf("goos: %s\ngoarch: %s\npkg: gocat/internal/bench\ncpu: %s\nkernel: %s\nkvm: %s\nload: %s\n",
		runtime.GOOS, runtime.GOARCH, r.Host.CPU, r.Host.Kernel, r.Host.KVM, r.Host.Load())
	if r.Incomplete != "" {
		t.printf("incomplete: %s\n", r.Incomplete)
	}
	for _, b := range r.Benchmarks {
		if len(b.Metrics) == 0 {
			continue
		}
		for i, row := range b.Metrics[0].Rows {
			for round := range row.Values {
				t.printf("Benchmark%s/by=%s 1", goName(b.Name), strings.ReplaceAll(row.Subject, " ", "-"))
				for k, m := range b.Metrics {
					v := m.Rows[i].Values[round]
					t.printf(" %s %s", goNumber(v), goUnit(m, k == 0))
					if m.Unit == perGiB && k == 0 {
						t.printf(" %s MB/s", goNumber((1<<30)/1e6/(v/1e9)))
					}
				}
				t.printf("\n")
			}
		}
	}
	return t.err
}

// goName makes a benchmark's name one that the Go tools understand: the first
// part in camel case, the second as a configuration.
func goName(name string) string {
	name, variant, _ := strings.Cut(name, "/")
	var s string
	for part := range strings.SplitSeq(name, "-") {
		s += strings.ToUpper(part[:1]) + part[1:]
	}
	switch {
	case variant == "":
		return s
	case name == "throughput":
		return s + "/buffer=" + variant
	}
	return s + "/of=" + variant
}

func goUnit(m Metric, first bool) string {
	switch {
	case m.Unit == bytesUnit:
		return m.Name + "-B"
	case first:
		return "ns/op"
	}
	return m.Name + "-ns/op"
}

// goNumber is a value without an exponent, which the format does not have.
func goNumber(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
