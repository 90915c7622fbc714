package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// hold is how long a call may take before its line is begun without its result,
// so that a guest that waits shows where.
const hold = 200 * time.Millisecond

// printer prints events.
type printer struct {
	Options
	w       *bufio.Writer
	calls   map[bool]*Event // that began, by Ring
	open    *Event          // the call whose line is begun, nil if none is
	started bool
	table   summary
	err     error // of w, the first
}

func newPrinter(w io.Writer, o Options) *printer {
	return &printer{Options: o, w: bufio.NewWriterSize(w, 64<<10), calls: map[bool]*Event{}, table: summary{}}
}

// run prints events until there are no more. When that fails it calls failed
// once and takes the rest in silence.
func (p *printer) run(events <-chan Event, failed func()) error {
	waiting := time.NewTimer(hold)
	for {
		select {
		case e, more := <-events:
			if !more {
				return p.err
			}
			p.event(&e)
			waiting.Reset(hold)
		case <-waiting.C:
			p.begin()
		}
		if p.err != nil {
			continue
		}
		if len(events) == 0 {
			p.err = p.w.Flush()
		} else {
			_, p.err = p.w.Write(nil) // the error of an earlier one
		}
		if p.err != nil {
			failed()
		}
	}
}

func (p *printer) event(e *Event) {
	switch e.Kind {
	case Started:
		p.started = true
	case Began:
		p.calls[e.Ring] = e
	case Done:
		began := p.calls[e.Ring]
		delete(p.calls, e.Ring)
		p.show(e, began)
	case Signal:
		p.line(e)
	case Ended:
		for _, began := range []*Event{p.calls[false], p.calls[true]} {
			if began == nil {
				continue
			}
			last := *began
			last.Kind = Done
			if last.Result == "" && last.Call != "exit_group" {
				last.Result = resultUnfinished
			}
			p.show(&last, began)
		}
		p.end(e)
	}
}

// show counts a call that is done and prints its line.
func (p *printer) show(e, began *Event) {
	if !e.Setup {
		p.table.add(e)
	}
	if p.open != nil && p.open == began && !p.JSON {
		p.open = nil
		p.print(result(e))
		return
	}
	p.line(e)
}

// begin begins the line of the call that takes so long.
func (p *printer) begin() {
	e := p.calls[false]
	if e == nil || e.Setup && !p.Setup || p.open != nil || p.JSON || p.Summary {
		return
	}
	p.print(head(e))
	p.open = e
}

// line prints the whole line of an event.
func (p *printer) line(e *Event) {
	switch {
	case p.Summary || e.Setup && !p.Setup:
	case p.JSON:
		p.json(e)
	default:
		if p.open != nil {
			p.open = nil
			p.print(" ...\n")
		}
		p.print(head(e) + result(e))
	}
}

// end prints how the guest ended, if it had started, and the summary.
func (p *printer) end(e *Event) {
	if !p.started {
		return
	}
	p.line(e)
	if p.Summary && p.JSON {
		for _, r := range p.table.rows() {
			p.encode(r)
		}
	} else if p.Summary && p.err == nil {
		p.table.print(p.w)
	}
}

func (p *printer) print(s string) { p.w.WriteString(s) } // its error is Flush's

// head is the first part of a line: when, and what.
func head(e *Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%10.6f ", e.Time.Seconds())
	switch {
	case e.Kind == Ended:
		return b.String()
	case e.Kind == Signal:
		b.WriteString("signal ")
	case e.Ring:
		b.WriteString("ring ")
	case e.Setup:
		b.WriteString("setup ")
	}
	b.WriteString(safe(e.Call))
	if e.Kind == Signal {
		for _, a := range e.Args {
			b.WriteString(", " + safe(a.Text))
		}
		return b.String()
	}
	b.WriteByte('(')
	for i, a := range e.Args {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(safe(a.Text))
	}
	b.WriteByte(')')
	return b.String()
}

// result is the rest of a line.
func result(e *Event) string {
	var b strings.Builder
	switch e.Kind {
	case Done:
		if e.Result != "" {
			b.WriteString(" = " + safe(e.Result))
		}
		if e.Bytes >= 0 {
			b.WriteString(", " + byteCount(uint64(e.Bytes)))
		}
		for _, v := range e.Out {
			b.WriteString(", " + safe(v.Text))
		}
		if e.Caller != "" {
			b.WriteString("  <" + safe(e.Caller) + ">")
		}
	case Ended:
		b.WriteString(safe(e.Result))
	}
	b.WriteByte('\n')
	return b.String()
}

// safe quotes a text that could be taken for more than a part of a line. None
// should be there; nothing that prints a guest's texts relies on it.
func safe(s string) string {
	for _, r := range s {
		if (r < ' ' || r > '~') && r != 'µ' {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

// line is an Event as JSON. Times are in seconds.
type line struct {
	Event  string         `json:"event"` // "call", "signal", "end"
	Time   float64        `json:"time"`
	Took   *float64       `json:"took,omitempty"`
	Call   string         `json:"call,omitempty"`
	Signal string         `json:"signal,omitempty"`
	Ring   bool           `json:"ring,omitempty"`
	Setup  bool           `json:"setup,omitempty"`
	Args   map[string]any `json:"args,omitempty"`
	Result string         `json:"result,omitempty"`
	Bytes  *int64         `json:"bytes,omitempty"`
	Out    map[string]any `json:"out,omitempty"`
	Caller string         `json:"caller,omitempty"`
	Status *int           `json:"status,omitempty"`
}

func (p *printer) json(e *Event) {
	l := line{Time: e.Time.Seconds(), Args: object(e.Args), Out: object(e.Out), Result: e.Result, Caller: e.Caller, Ring: e.Ring, Setup: e.Setup}
	switch e.Kind {
	case Signal:
		l.Event, l.Signal = "signal", e.Call
	case Ended:
		l.Event, l.Status = "end", &e.Status
	default:
		l.Event, l.Call = "call", e.Call
		if e.Result != resultUnfinished && e.Result != "" {
			took := e.Took.Seconds()
			l.Took = &took
		}
		if e.Bytes >= 0 {
			l.Bytes = &e.Bytes
		}
	}
	p.encode(l)
}

func (p *printer) encode(v any) {
	b, err := json.Marshal(v)
	if err != nil && p.err == nil {
		p.err = err
	}
	p.w.Write(append(b, '\n'))
}

func object(values []Value) map[string]any {
	if values == nil {
		return nil
	}
	m := make(map[string]any, len(values))
	for _, v := range values {
		m[v.Name] = v.JSON
	}
	return m
}
