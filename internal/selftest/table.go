package selftest

import (
	"fmt"
	"slices"
	"strings"
)

// Table collects results by kind of attack and setting.
type Table struct {
	Settings []Setting
	Rows     []*Row
	Failures []Result // in the order in which they came
	// NotStarted are attacks whose guests gocat did not run. They are among those
	// tried, and neither stopped nor not.
	NotStarted []Result
	Tried      int
}

// Row is one kind of attack.
type Row struct {
	Group string
	Cells [settings]Cell // by setting
}

// Cell counts attacks of one kind on one setting.
type Cell struct {
	Tried, Failed int
	NotStarted    int
	Words         map[string]int // of the outcomes of those that were stopped
}

// NewTable makes a table with a row for each kind of attacks, in their order.
func NewTable(of []Setting, attacks []*Attack) *Table {
	t := &Table{Settings: of}
	for _, a := range attacks {
		t.row(a.Group)
	}
	return t
}

// row returns the row of a group, and makes it if there is none.
func (t *Table) row(group string) *Row {
	i := slices.IndexFunc(t.Rows, func(r *Row) bool { return r.Group == group })
	if i < 0 {
		i = len(t.Rows)
		t.Rows = append(t.Rows, &Row{Group: group})
	}
	return t.Rows[i]
}

// Add adds a result.
func (t *Table) Add(r Result) {
	t.Tried++
	c := &t.row(r.Group).Cells[r.Setting]
	c.Tried++
	if r.NotStarted {
		c.NotStarted++
		t.NotStarted = append(t.NotStarted, r)
		return
	}
	if r.Err != nil {
		c.Failed++
		t.Failures = append(t.Failures, r)
		return
	}
	if c.Words == nil {
		c.Words = map[string]int{}
	}
	c.Words[r.Outcome.Word]++
}

// String is the cell's text: how many attacks ended how, or - for none.
func (c Cell) String() string {
	var all []string
	for _, word := range []string{Killed, Ended, Refused, Stopped, Nothing} {
		if n := c.Words[word]; n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, word))
		}
	}
	if c.NotStarted > 0 {
		all = append(all, fmt.Sprintf("%d not started", c.NotStarted))
	}
	if c.Failed > 0 {
		all = append(all, fmt.Sprintf("%d NOT STOPPED", c.Failed))
	}
	if all == nil {
		return "-"
	}
	return strings.Join(all, ", ")
}
