package main

import (
	"fmt"
	"io"

	"gocat/internal/usernet"
)

// networkDescription is the outcome of gocat-net's attempts.
type networkDescription struct {
	Tried    int                 `json:"tried"`
	Stopped  int                 `json:"stopped"`
	Missing  string              `json:"missing,omitempty"` // why nothing was tried
	Layers   []string            `json:"layers,omitempty"`  // what confined it
	Failures []attackDescription `json:"failures"`

	tried []string // names
}

// attackNetwork has gocat-net try what it may not do, for guests that may connect
// to the outside and for guests that may not.
func attackNetwork() *networkDescription {
	d := &networkDescription{Failures: []attackDescription{}}
	for _, spec := range []string{"user", "user,outbound=none"} {
		config, err := usernet.Parse(spec)
		var all []usernet.Checked
		if err == nil {
			all, err = usernet.CheckConfinement(spec)
		}
		if err != nil {
			d.Missing = err.Error()
			return d
		}
		for _, c := range all {
			d.Tried++
			d.Layers = c.Layers
			d.tried = append(d.tried, spec+": "+c.Name)
			if err := c.Err(&config); err != nil {
				d.Failures = append(d.Failures, attackDescription{On: "gocat-net", Attack: spec, Name: c.Name, Status: c.Status, Problem: err.Error()})
			}
		}
	}
	d.Stopped = d.Tried - len(d.Failures)
	return d
}

func (d *networkDescription) print(w io.Writer, verbose bool) error {
	p := printer{w: w}
	if d.Missing != "" {
		p.printf("gocat-net: not attacked: %s\n", d.Missing)
		return p.err
	}
	if verbose {
		for _, name := range d.tried {
			p.printf("gocat-net: %s\n", name)
		}
	}
	for _, f := range d.Failures {
		p.printf("NOT STOPPED: gocat-net: %s: %s: %s\n", f.Attack, f.Name, f.Problem)
	}
	p.printf("gocat-net: %d attempts, %d as they must be\n", d.Tried, d.Stopped)
	return p.err
}

func (d *networkDescription) err() error {
	if n := len(d.Failures); n > 0 {
		return fmt.Errorf("%d of %d attempts of gocat-net were not stopped", n, d.Tried)
	}
	return nil
}
