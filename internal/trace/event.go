// Package trace runs a guest and shows what passes between it and the host: the
// hypercalls of an hvt guest, which its tender reports (kvmhvt.Record), and the
// system calls of an spt guest, which ptrace reports.
//
// Both become Events, which one printer prints. Run supervises the guest in a
// process of its own, so nothing of this runs in a confined one.
package trace

import (
	"strconv"
	"time"
)

// Kind says what an Event tells of.
type Kind uint8

// Kinds of events.
const (
	Started Kind = iota + 1 // the guest's first instruction comes next
	Began                   // a call begins; Done follows unless the guest ends in it
	Done                    // a call, with what it gave
	Signal                  // Call is the name of a signal that came
	Ended                   // Result says how; the last event
)

// Event is something that a guest did, or that was done to it. Texts in it come
// from the guest only as far as package image lets through: device names are
// letters and digits, symbols printable ASCII without spaces.
type Event struct {
	Kind   Kind
	Ring   bool          // taken from the network ring
	Setup  bool          // made by gocat's own code before the guest's first instruction
	Time   time.Duration // since the guest, or its set-up where that is shown, started
	Took   time.Duration
	Call   string
	Args   []Value
	Device string // the one that the call is on, for the summary
	Result string // "" of a call that does not return
	Bytes  int64  // that were transferred; -1: not such a call
	Out    []Value
	Caller string // function and offset; "" when not known
	Status int    // Ended: the exit status
}

// Results that are no error numbers.
const (
	resultOK         = "OK"
	resultForbidden  = "forbidden"   // by the seccomp filter
	resultUnfinished = "unfinished"  // the guest ended in it
	resultStopped    = "guest ended" // by the tender, for this call or in it
	resultRestarted  = "interrupted" // by a signal, to be begun again
)

// Value is an argument, or something that a call gave.
type Value struct {
	Name string // in JSON
	JSON any
	Text string
}

func number(name string, n uint64) Value {
	return Value{name, n, strconv.FormatUint(n, 10)}
}

// hex is a number that is shown in hexadecimal, in JSON as a string, since
// not every reader of JSON takes 64 bits.
func hex(name string, n uint64) Value {
	s := "0x" + strconv.FormatUint(n, 16)
	return Value{name, s, s}
}

func text(name, s string) Value { return Value{name, s, s} }

func size(n uint64) Value { return Value{"size", n, byteCount(n)} }

func byteCount(n uint64) string {
	if n == 1 {
		return "1 byte"
	}
	return strconv.FormatUint(n, 10) + " bytes"
}

// at is an offset in a block device.
func at(offset uint64) Value {
	return Value{"offset", offset, "at " + strconv.FormatUint(offset, 10)}
}

// century is as good as for ever, and the longest that an hvt guest waits.
const century = 100 * 365 * 24 * time.Hour

// timeout is how long a call may wait; in JSON in seconds, null for ever.
func timeout(d time.Duration) Value {
	if d < 0 || d >= century {
		return Value{"timeout", nil, "for ever"}
	}
	return Value{"timeout", d.Seconds(), "timeout " + d.String()}
}

// exitStatus is the argument of a call that does not return.
func exitStatus(n int32) Value {
	return Value{"status", n, "status " + strconv.Itoa(int(n))}
}

// ready lists what a wait found.
func ready(names []string) Value {
	s := ""
	for i, name := range names {
		if i > 0 {
			s += " "
		}
		s += name
	}
	if s == "" {
		return Value{"ready", []string{}, "nothing ready"}
	}
	return Value{"ready", names, s + " ready"}
}
