// Package doctor examines a host and says what that means for running guests.
package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Status is the verdict of a check.
type Status uint8

// Verdicts.
const (
	OK   Status = iota
	Warn        // something works less well, or not for hvt guests
	Fail        // gocat run cannot run spt guests
)

// String returns "OK", "WARN" or "FAIL".
func (s Status) String() string {
	switch s {
	case OK:
		return "OK"
	case Warn:
		return "WARN"
	case Fail:
		return "FAIL"
	}
	return "status " + strconv.Itoa(int(s))
}

// MarshalText returns String.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Result is what one check found. Found, Means and Remedy are clauses without an
// end mark.
type Result struct {
	Check  string `json:"check"`
	Status Status `json:"status"`
	Found  string `json:"found"`
	Means  string `json:"means,omitempty"`  // for guests
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// String is the result in one line, without the name of the check.
func (r Result) String() string {
	s := r.Found
	if r.Means != "" {
		s += ": " + r.Means
	}
	if r.Remedy != "" {
		s += "; to fix it: " + r.Remedy
	}
	return s
}

// Host is the machine as seen from a process of its kind.
type Host struct {
	Root string // of its files, "/" but in tests

	// Gocat runs a command of gocat with the given arguments and input. The
	// child inherits what confines this process, a seccomp filter above all.
	Gocat func(input []byte, args ...string) (Outcome, error)

	// UserNetwork has gocat-net, confined, try what it may not do, and returns how
	// each layer of its confinement is, and what was not stopped.
	UserNetwork func() (layers []string, err error)
}

// Outcome is how a command ended.
type Outcome struct {
	Stdout, Stderr []byte
	Status         int // exit status, or 128 + the signal that killed it
}

// Check makes all checks.
func (h *Host) Check() []Result {
	checks := []struct {
		name string
		run  func() Result
	}{
		{"kernel", h.kernel},
		{"seccomp", h.seccompActions},
		{"inherited filter", h.inheritedFilter},
		{"no_new_privs", h.noNewPrivs},
		{"memfd", h.memfd},
		{"low memory", h.mmapMinAddr},
		{"overcommit", h.overcommit},
		{"system mappings", h.systemMappings},
		{"proc", h.proc},
		{"pipes", h.pipes},
		{"spt guest", h.sptGuest},
		{"kvm", h.KVM},
		{"landlock", h.landlock},
		{"isolation", h.isolation},
		{"speculation", h.speculation},
		{"hvt guest", h.hvtGuest},
		{"taps", h.taps},
		{"user namespaces", h.userNamespaces},
		{"user networks", h.userNetworks},
	}
	results := make([]Result, len(checks))
	for i, c := range checks {
		results[i] = c.run()
		results[i].Check = c.name
	}
	return results
}

// read returns the trimmed contents of a file below Root.
func (h *Host) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(h.Root, name))
	return strings.TrimSpace(string(b)), err
}

// number returns the number in a file below Root.
func (h *Host) number(name string) (uint64, error) {
	s, err := h.read(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// unreadable is the result of a check whose file is not there.
func unreadable(err error) Result {
	return Result{Status: Warn, Found: "unknown: " + err.Error()}
}
