package bench

import (
	"fmt"
	"slices"
	"time"
)

// Report is what a run found.
type Report struct {
	Gocat      string        `json:"gocat"` // version
	Host       Host          `json:"host"`
	Began      time.Time     `json:"began"`
	Seconds    float64       `json:"seconds"` // that it took
	Quick      bool          `json:"quick"`
	Incomplete string        `json:"incomplete,omitempty"` // why there is not all
	Subjects   []Description `json:"subjects"`
	Benchmarks []Benchmark   `json:"benchmarks"`
}

// Description says what a name stands for.
type Description struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// Benchmark is what was measured of all subjects, in rounds that measured each
// once.
type Benchmark struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	About   string   `json:"about"`
	Buffer  uint64   `json:"buffer,omitempty"` // bytes that one read of the cat takes
	Base    string   `json:"base"`             // subject that the others are compared with
	Metrics []Metric `json:"metrics"`
	// Incomplete says why there are fewer rounds than there should be, or none.
	Incomplete string `json:"incomplete,omitempty"`
	// Missing says of subjects why there are no values.
	Missing []Missing `json:"missing,omitempty"`
}

// Missing is a subject that was not measured.
type Missing struct {
	Subject string `json:"subject"`
	Reason  string `json:"reason"`
	Failed  bool   `json:"failed"` // its result was wrong, or it broke down
}

// Metric is one kind of value.
type Metric struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Unit  string `json:"unit"` // ns, ns/GiB or B
	Rows  []Row  `json:"rows"`
}

// Row is what was found of a subject.
type Row struct {
	Subject string `json:"subject"`
	Estimate
	Ratios []Ratio   `json:"ratios,omitempty"` // to the base first, then to Solo5's tenders of the same target
	Values []float64 `json:"values"`           // by round
}

// Ratio returns the row's comparison with a subject.
func (r Row) Ratio(to string) (Ratio, bool) {
	for _, ratio := range r.Ratios {
		if ratio.To == to {
			return ratio, true
		}
	}
	return Ratio{}, false
}

// compared lists the subjects that rows of the metric are compared with, base
// first.
func (m Metric) compared(base string) []string {
	var names []string
	for _, row := range m.Rows {
		for _, r := range row.Ratios {
			if r.To == base && !slices.Contains(names, base) {
				names = slices.Insert(names, 0, base)
			} else if !slices.Contains(names, r.To) {
				names = append(names, r.To)
			}
		}
	}
	return names
}

// Failures lists what went wrong: a subject's wrong result or breakdown each.
func (r *Report) Failures() []string {
	var all []string
	for _, b := range r.Benchmarks {
		for _, m := range b.Missing {
			if m.Failed {
				all = append(all, b.Name+": "+m.Subject+": "+m.Reason)
			}
		}
	}
	return all
}

// human is a value for people, with three digits.
func human(v float64, unit string) string {
	type scale struct {
		factor float64
		name   string
	}
	scales := []scale{{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}, {1, "ns"}}
	if unit == bytesUnit {
		scales = []scale{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1, "B"}}
	}
	size := max(v, -v)
	last := scales[len(scales)-1]
	for _, s := range scales {
		if size >= s.factor {
			last = s
			break
		}
	}
	return digits(v/last.factor) + " " + last.name
}

// digits is a number with three significant digits, all of its integer part, and
// no digits after the point in a whole number.
func digits(v float64) string {
	size := max(v, -v)
	switch {
	case v == float64(int64(v)) && size < 1e4:
		return fmt.Sprintf("%d", int64(v))
	case size >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case size >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// quotient is a ratio with three significant digits.
func quotient(v float64) string {
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case v >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
