package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// printed is what a printer makes of events; a nil one begins the line of a call
// that takes long.
func printed(t *testing.T, o Options, events ...*Event) string {
	t.Helper()
	var b bytes.Buffer
	p := newPrinter(&b, o)
	p.event(&Event{Kind: Started})
	for _, e := range events {
		if e == nil {
			p.begin()
		} else {
			p.event(e)
		}
	}
	if err := p.w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	began   = Event{Kind: Began, Call: "poll", Args: []Value{timeout(-1)}, Bytes: -1, Time: time.Second}
	done    = Event{Kind: Done, Call: "poll", Args: []Value{timeout(-1)}, Bytes: -1, Time: time.Second, Result: resultOK, Out: []Value{ready([]string{"a", "b"})}}
	ring    = Event{Kind: Done, Ring: true, Call: "net_read", Args: []Value{text("device", "a"), size(1)}, Bytes: 1, Result: resultOK, Caller: "f+0x1"}
	sigterm = Event{Kind: Signal, Call: "SIGTERM", Time: 2 * time.Second, Bytes: -1}
	ended   = Event{Kind: Ended, Result: "killed by SIGTERM, status 143", Status: 143, Time: 2 * time.Second}
)

func TestLines(t *testing.T) {
	const (
		whole    = "  1.000000 poll(for ever) = OK, a b ready\n"
		ringLine = "  0.000000 ring net_read(a, 1 byte) = OK, 1 byte  <f+0x1>\n"
		end      = "  2.000000 signal SIGTERM\n  2.000000 killed by SIGTERM, status 143\n"
	)
	for name, test := range map[string]struct {
		events []*Event
		want   string
	}{
		"at once":      {[]*Event{&began, &done}, whole},
		"late":         {[]*Event{&began, nil, nil, &done, nil}, whole},
		"interrupted":  {[]*Event{&began, nil, &ring, nil, &done}, "  1.000000 poll(for ever) ...\n" + ringLine + whole},
		"not done":     {[]*Event{&began, &sigterm, &ended}, "  2.000000 signal SIGTERM\n  1.000000 poll(for ever) = unfinished\n  2.000000 killed by SIGTERM, status 143\n"},
		"late and not": {[]*Event{&began, nil, &sigterm, &ended}, "  1.000000 poll(for ever) ...\n  2.000000 signal SIGTERM\n  1.000000 poll(for ever) = unfinished\n  2.000000 killed by SIGTERM, status 143\n"},
		"none":         {[]*Event{nil, &sigterm, nil, &ended}, end},
	} {
		if got := printed(t, Options{}, test.events...); got != test.want {
			t.Errorf("%s: got\n%swant\n%s", name, got, test.want)
		}
	}
}

// Whatever is in an event, it is one line, and in JSON one value.
func TestForgery(t *testing.T) {
	const bad = "x\n  0.000001 halt(status 0)\r\x1b[2J\u202e\x00\""
	e := Event{Kind: Done, Call: bad, Args: []Value{text("device", bad)}, Device: bad, Result: bad, Bytes: -1, Out: []Value{ready([]string{bad})}, Caller: bad}
	s := e
	s.Kind = Signal
	for _, o := range []Options{{}, {JSON: true}, {Summary: true}, {Summary: true, JSON: true}} {
		out := printed(t, o, &e, &s, &Event{Kind: Ended, Result: bad})
		lines := 3 // call, signal, end; or the table's head, call, all
		if o.Summary && o.JSON {
			lines = 1
		}
		if strings.Count(out, "\n") != lines || strings.ContainsAny(out, "\r\x1b\x00\u202e") && !o.JSON {
			t.Errorf("%+v: %q", o, out)
		}
		for line := range strings.Lines(out) {
			if o.JSON && !json.Valid([]byte(line)) {
				t.Errorf("%q", line)
			}
		}
	}
}

// TestJSONDocumented: docs/trace.md has all names.
func TestJSONDocumented(t *testing.T) {
	e, s := done, sigterm
	e.Setup, e.Ring, e.Caller, e.Bytes = true, true, "f+0x1", 1
	e.Args = append(words([]uint64{1, 1, 1, 1, 1, 1}), size(1), at(1), timeout(-1), clock(0), exitStatus(0), text("device", "a"), number("fd", 9), hex("fs_base", 1), text("in", ""))
	e.Out = append(e.Out, text("time", ""), hex("value", 1))
	s.Args = []Value{hex("address", 1), number("sender", 1)}
	testhost.Documented(t, "trace.md", []byte(printed(t, Options{JSON: true, Setup: true}, &e, &s, &ended)))
	testhost.Documented(t, "trace.md", []byte(printed(t, Options{JSON: true, Summary: true}, &ring, &ended)))
}

// TestWriteError: events do not wait for an output that fails, and the guest is
// stopped once.
func TestWriteError(t *testing.T) {
	broken := errors.New("broken")
	events := make(chan Event)
	stopped := 0
	result := make(chan error)
	go func() {
		result <- newPrinter(failing{broken}, Options{}).run(events, func() { stopped++ })
	}()
	for range 5000 {
		events <- done
	}
	close(events)
	if err := <-result; err != broken || stopped != 1 {
		t.Errorf("%v, stopped %d times", err, stopped)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestErrorName(t *testing.T) {
	for e, want := range map[unix.Errno]string{unix.EAGAIN: "EAGAIN", unix.EPERM: "EPERM", 514: "interrupted", 4000: "error 4000"} {
		if got := errorName(e); got != want {
			t.Errorf("%d: %q, want %q", int(e), got, want)
		}
	}
}

func TestTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "timeout 0s", 1500 * time.Microsecond: "timeout 1.5ms", -1: "for ever", 1<<63 - 1: "for ever"} {
		if got := timeout(d); got.Text != want || (got.JSON == nil) != (want == "for ever") {
			t.Errorf("%d: %+v", int64(d), got)
		}
	}
}
