package compare

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kind is how a run ended.
type Kind uint8

// Kinds. Those up to Died were observed.
const (
	Ends    Kind = iota // the guest exited
	Waits               // blocked, for input that may still come
	Hangs               // blocked, although the input is at its end
	Spins               // busy, with nothing to do
	Refused             // the tender did not start the guest
	Died                // a signal, or the tender gave up
	Stopped             // it was still at work when its time was over
	NotRun              // this host lacks something, or the guest is for another target
)

var kinds = [...]string{"ends", "waits", "hangs", "spins", "refused", "died", "stopped", "not run"}

// String returns a word.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// MarshalText returns String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Outcome is what was observed of one run.
type Outcome struct {
	Kind Kind `json:"kind"`
	// Status is the exit status of a run that ended, as a shell shows it.
	Status int `json:"status"`
	// Signal is what ended it, as SIGSEGV; "" for none.
	Signal string `json:"signal,omitempty"`
	// After is how long after the end of the input it ended, in nanoseconds;
	// after its start if there was no end, or if the input is at its end from
	// the start.
	After time.Duration `json:"after_ns"`
	// CPU is the share of the time, while nothing came out, in which it ran or
	// was ready to run. Reads is how many read calls were made a second, -1 if
	// that is not known: those on sockets with other calls are not counted.
	CPU   float64 `json:"cpu"`
	Reads float64 `json:"reads_per_second"`
	// Sent and Received count bytes of the input and of the output.
	Sent     int `json:"sent"`
	Received int `json:"received"`
	// AtEmpty says that all came that precedes an empty datagram, and nothing
	// else.
	AtEmpty bool `json:"at_empty,omitempty"`
	// Altered says that the output is not the input with a part missing.
	Altered bool `json:"altered,omitempty"`
	// Message is the first line that the tender printed on standard error, or
	// why there was no run.
	Message string `json:"message,omitempty"`
}

// deliver compares the output with the input.
func (o *Outcome) deliver(in *input, out []byte) {
	o.Sent, o.Received, o.AtEmpty, o.Altered = len(in.data), len(out), false, false
	if bytes.Equal(in.data, out) {
		return
	}
	if in.empty >= 0 && bytes.Equal(in.data[:in.empty], out) {
		o.AtEmpty = true
		return
	}
	o.Altered = !isPart(out, in.data)
}

// isPart reports whether part is whole with bytes missing.
func isPart(part, whole []byte) bool {
	for len(part) > 0 {
		// What is missing are pieces, so what follows one shows where it ends.
		at := bytes.Index(whole, part[:min(16, len(part))])
		if at < 0 {
			return false
		}
		whole = whole[at:]
		same := 0
		for same < len(part) && same < len(whole) && part[same] == whole[same] {
			same++
		}
		part, whole = part[same:], whole[same:]
	}
	return true
}

// delivered is what to say of the bytes, "" if all came.
func (o *Outcome) delivered() string {
	switch {
	case o.AtEmpty || o.Received == o.Sent && !o.Altered:
		return ""
	case o.Altered:
		return "data altered"
	case o.Received == 0:
		return "nothing delivered"
	}
	return fmt.Sprintf("%d bytes lost", o.Sent-o.Received)
}

// words is what a person reads at a glance. It holds nothing that differs from
// run to run.
func (o *Outcome) words() string {
	s := o.Kind.String()
	switch o.Kind {
	case Refused, NotRun:
		return s
	case Died:
		if o.Signal != "" {
			s += " of " + o.Signal
		}
	case Ends:
		if o.AtEmpty {
			s += " at the empty one"
		}
		if o.Status != 0 {
			s += fmt.Sprintf(" with %d", o.Status)
		}
	}
	if d := o.delivered(); d != "" {
		s += ", " + d
	}
	return s
}

// clean says that a guest got all of its input and took its end for one.
func (o *Outcome) clean() bool {
	return (o.Kind == Ends && o.Status == 0 || o.Kind == Waits) && o.delivered() == ""
}

// exited classifies a process that has ended.
func (o *Outcome) exited(ws unix.WaitStatus, stderr string) {
	o.Message = message(stderr)
	o.Kind, o.Status = Ends, ws.ExitStatus()
	switch {
	case ws.Signaled():
		o.Kind, o.Status = Died, 128+int(ws.Signal())
		o.Signal = unix.SignalName(ws.Signal())
	case o.Status != 0 && o.Message != "" && o.Received == 0:
		o.Kind = Refused
	case o.Status != 0 && o.Message != "":
		o.Kind = Died
	}
}

// message returns the first line that a tender printed, without what could
// disturb a terminal. The lines that follow are usually its usage.
func message(stderr string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return '?'
		}
		return r
	}, line)
	if len(clean) > 300 {
		clean = clean[:300] + "..."
	}
	return clean
}
