// Package hvt lets package tender run hvt guests: linking it sets tender.HVT.
//
// It is apart from tender because kvmhvt needs the Go runtime, and what tender
// does for spt guests does not.
package hvt

import (
	"errors"
	"fmt"
	"os"

	"gocat/internal/device"
	"gocat/internal/isolate"
	"gocat/internal/tender"
	"gocat/kvmhvt"
	"gocat/seccomp"
)

func init() { tender.HVT = tender.Backend{Before: enter, Run: run, Policy: policy} }

func policy(g *tender.Guest, set *device.Set) (*seccomp.Policy, error) {
	c, err := config(g, set)
	if err != nil {
		return nil, err
	}
	return kvmhvt.Policy(c)
}

// config returns the backend's configuration of the guest with its devices.
func config(g *tender.Guest, set *device.Set) (*kvmhvt.Config, error) {
	if g.ExecHeap {
		return nil, fmt.Errorf("--x-exec-heap: only spt guests have such a heap; %s is built for hvt", g.Name)
	}
	if g.QuietFaults {
		return nil, fmt.Errorf("--quiet-faults: only spt guests report faults themselves; %s is built for hvt", g.Name)
	}
	if g.Profile != tender.ProfileDefault {
		return nil, fmt.Errorf("--profile: an hvt guest makes no system calls; %s is built for hvt", g.Name)
	}
	isolation := g.Isolation()
	if g.Confine == tender.ConfineNone && (isolation.Mode == isolate.Full || isolation.Require != 0 || isolation.CPUTime != 0) {
		return nil, errors.New("--confine=none leaves out all layers: no --isolate=full, --require, --cgroup, --user or --cpu-time with it")
	}
	confine := map[tender.Confine]kvmhvt.Confine{
		tender.ConfineRequired:  kvmhvt.ConfineRequired,
		tender.ConfineAvailable: kvmhvt.ConfineBestEffort,
		tender.ConfineNone:      kvmhvt.ConfineNone,
	}
	return &kvmhvt.Config{
		Image:    g.Image,
		Manifest: g.Image.Manifest,
		File:     g.File,
		Memory:   kvmhvt.RoundMemory(g.Memory),
		Devices:  set.Devices,
		Args:     g.CommandLine(),
		CPL:      g.CPL,
		EOF:      g.EOF,
		NetRing:  g.NetRing,
		Confine:  confine[g.Confine],
		Trace:    g.Trace,
		Isolate:  isolation,
	}, nil
}

// run runs the guest and ends the process with its status, or with 1 when the
// tender ended it, and then it has said why. It returns only on error: after the
// guest has run, the process may not even close its descriptors.
func run(g *tender.Guest, set *device.Set) error {
	c, err := config(g, set)
	if err != nil {
		return err
	}
	c.ELF = g.Map()
	if g.Verbose {
		c.Started = func(layers kvmhvt.Confinement, timer kvmhvt.Timer) {
			for _, l := range layers {
				state := c.Isolate.Host.On(l.Layer)
				if l.Err != nil {
					state = "off: " + l.Err.Error()
				}
				tender.Say("gocat: confinement: " + l.Layer.String() + ": " + state)
			}
			switch {
			case timer.Err != nil:
				tender.Say("gocat: timer: off: " + timer.Err.Error())
			case timer.Period != 0:
				tender.Say("gocat: timer: on")
			}
		}
	}
	e, err := kvmhvt.Run(c)
	if err != nil {
		return err
	}
	if g.Verbose {
		n := e.Counters
		tender.Say(fmt.Sprintf("gocat: %d hypercalls, %d of them polls, %d traps, %d ticks, %d exits; %d bytes in, %d bytes out",
			n.Hypercalls, n.Polls, n.Traps, n.Ticks, n.Exits, n.BytesIn, n.BytesOut))
	}
	os.Exit(ended(g, e))
	return nil
}

// ended says why the guest ended, where that was not its own doing, and returns
// the exit status.
func ended(g *tender.Guest, e kvmhvt.Exit) int {
	switch {
	case e.Signal != 0 && g.Prog == "":
		return 128 + e.Signal // as the shell has it of a process that the signal killed
	case e.Reason != "":
		prog := g.Prog
		if prog == "" {
			prog = "gocat"
		}
		tender.Say(prog + ": " + e.Reason)
	}
	return e.Status
}
