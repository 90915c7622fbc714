package trace

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// summary counts calls.
type summary map[key]*row

// key is what is counted together.
type key struct{ call, device string }

// row is a line of the summary. Times are in seconds.
type row struct {
	Call   string  `json:"call"`
	Device string  `json:"device,omitempty"`
	Calls  uint64  `json:"calls"`
	Again  uint64  `json:"again"`  // AGAIN and EAGAIN: nothing to read, or no room to write
	Errors uint64  `json:"errors"` // all other failures
	Bytes  int64   `json:"bytes"`
	Total  float64 `json:"total"`
	Mean   float64 `json:"mean"`

	took time.Duration
}

// add counts a call that is done.
func (s summary) add(e *Event) {
	k := key{e.Call, e.Device}
	if e.Ring {
		k.call = "ring " + k.call
	}
	r := s[k]
	if r == nil {
		r = &row{Call: k.call, Device: k.device}
		s[k] = r
	}
	r.Calls++
	r.took += e.Took
	r.Bytes += max(e.Bytes, 0)
	switch e.Result {
	case resultOK, resultUnfinished, "":
	case "AGAIN", "EAGAIN":
		r.Again++
	default:
		r.Errors++
	}
}

// rows returns the lines of the summary, those that took the longest first.
func (s summary) rows() []*row {
	for _, r := range s {
		r.Total = r.took.Seconds()
		r.Mean = (r.took / time.Duration(r.Calls)).Seconds()
	}
	return slices.SortedFunc(maps.Values(s), func(a, b *row) int {
		return cmp.Or(-cmp.Compare(a.took, b.took), strings.Compare(a.Call, b.Call), strings.Compare(a.Device, b.Device))
	})
}

// print prints the summary as a table, its last line a total. Errors are the
// writer's to keep.
func (s summary) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "call\tdevice\tcalls\tagain\terrors\tbytes\ttotal\tmean\t")
	all := row{Call: "all"}
	for _, r := range s.rows() {
		r.print(t)
		all.Calls += r.Calls
		all.Again += r.Again
		all.Errors += r.Errors
		all.Bytes += r.Bytes
		all.took += r.took
	}
	all.print(t)
	t.Flush()
}

func (r *row) print(w io.Writer) {
	fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%v\t%v\t\n", safe(r.Call), safe(r.Device), r.Calls, r.Again, r.Errors, r.Bytes,
		brief(r.took), brief(r.took/time.Duration(max(r.Calls, 1))))
}

// brief leaves out digits that nobody reads.
func brief(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Nanosecond)
}
