// Package selftest attacks gocat with hostile guests on the host that it runs on.
//
// An Attack is a guest, made at run time, that tries one thing which a guest must
// not achieve, and the ways in which it may end: these are the documented ones.
// All are run by the gocat program itself, each in a process of its own, beside
// descriptors, files and memory that the guest was not given: they have to be as
// they were afterwards (see given). The tests of this package and gocat selftest
// run the same attacks.
package selftest

import (
	"fmt"
	"strings"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// Setting is a way to run guests: a column of the table.
type Setting uint8

// Settings.
const (
	SPT    Setting = iota // an spt guest
	Strict                // one that --profile=strict leaves fewer calls
	HVT                   // an hvt guest at privilege level 3, behind the shim
	CPL0                  // one at level 0, as Solo5's tender has it
	settings
)

// Settings returns all settings.
func Settings() []Setting { return []Setting{SPT, Strict, HVT, CPL0} }

// String is the setting's name in tables.
func (s Setting) String() string { return [settings]string{"spt", "strict", "hvt", "cpl0"}[s] }

// Target is what guests of the setting are built for.
func (s Setting) Target() image.Target {
	if s == HVT || s == CPL0 {
		return image.HVT
	}
	return image.SPT
}

// options are those of gocat run.
func (s Setting) options() []string {
	return [settings][]string{nil, {"--profile=strict"}, nil, {"--cpl=0"}}[s]
}

// An Attack is a guest that tries something.
type Attack struct {
	Group   string // what kind of attack it is: a row of the table
	Name    string // what the guest tries, in a few words
	Setting Setting
	Want    []Outcome // documented ways to end; any of them stops the attack

	// add adds the guest's steps. A guest that comes to their end has survived: it
	// exits with the status cameBack.
	add     func(*guests.Probe)
	options []string // further ones of gocat run
	memory  uint64   // of the guest in MB; 0 means guestMemory
	endless bool     // goes on for ever, and must end on SIGTERM
	// personality is the caller's, which its children inherit (personality(2)).
	personality uintptr
	// check looks at what else the guest leaves, if not nil. What it printed is
	// checked by it alone.
	check func(*ending) error
	// answered is a system call that a filter around gocat answers with success
	// and does not make. With 0, which is read, there is no filter.
	answered uint32
	// judge says how the guest ended, if not nil: in place of Want and check.
	judge func(*ending) (Outcome, error)
	// look looks at the process of an endless guest before it is told to end.
	look func(pid int) error
}

// cameBack is the exit status of a guest that did what it tried and goes on.
const cameBack = 77

// guestMemory is the memory of attacking guests in MB.
const guestMemory = 16

// Outcome is a way for a guest to end.
type Outcome struct {
	Word   string // in tables
	Status int    // exit status, as a shell shows it
	Line   string // part of the one line on standard error; "" when there is none
}

func (o Outcome) String() string {
	if o.Line == "" {
		return fmt.Sprintf("%s (status %d)", o.Word, o.Status)
	}
	return fmt.Sprintf("%s (status %d, %q)", o.Word, o.Status, o.Line)
}

// Words of outcomes.
const (
	Killed  = "killed"   // by the kernel, with the signal of the fault or of the forbidden call
	Ended   = "ended"    // by the tender, with status 1 and a line
	Refused = "refused"  // the guest got an error and went on
	Nothing = "harmless" // it is allowed, and harms nobody
	Stopped = "stopped"  // never ends by itself, and did on a signal
)

// Result is what became of an attack.
type Result struct {
	*Attack
	Outcome    Outcome // that it had, of the documented ones
	Err        error   // why it was not stopped; nil when it was
	NotStarted bool    // gocat did not run the guest, so nobody knows; Err says why
}

// outcome returns the documented outcome that e is.
func (a *Attack) outcome(e *ending) (Outcome, error) {
	if e.timedOut {
		return Outcome{}, fmt.Errorf("did not end within %v", attackTimeout)
	}
	if a.judge != nil {
		return a.judge(e)
	}
	for _, o := range a.Want {
		if o.Status != e.status || a.check == nil && e.stdout != "" {
			continue
		}
		if o.Line == "" && e.stderr == "" || o.Line != "" && strings.Contains(e.stderr, o.Line) && strings.Count(e.stderr, "\n") == 1 {
			return o, nil
		}
	}
	return Outcome{}, fmt.Errorf("status %d, standard output %.200q, standard error %.300q", e.status, e.stdout, e.stderr)
}

// image returns the attack's guest.
func (a *Attack) image() ([]byte, error) {
	p := guests.NewProbe(a.Setting.Target(), manifest(a.Setting)...)
	a.add(p)
	p.Do(p.Exit(guests.N(cameBack)))
	return p.Image()
}

// Attacks returns the attacks of the given settings. They are in the order of
// the rows of a table, and the first of each setting is one that any confinement
// at all stops.
func Attacks(of ...Setting) []*Attack {
	var all []*Attack
	for _, s := range of {
		if s.Target() == image.SPT {
			all = append(all, sptAttacks(s)...)
		} else {
			all = append(all, hvtAttacks(s)...)
		}
	}
	return all
}
