package tender

import (
	"errors"
	"fmt"

	"gocat/internal/device"
	"gocat/internal/isolate"
	"gocat/internal/raw"
	"gocat/kvmhvt"
	"gocat/seccomp"
)

// HVT returns the hvt backend's configuration of the guest with its devices.
func (g *Guest) HVT(set *device.Set) (*kvmhvt.Config, error) {
	if g.ExecHeap {
		return nil, fmt.Errorf("--x-exec-heap: only spt guests have such a heap; %s is built for hvt", g.Name)
	}
	if g.QuietFaults {
		return nil, fmt.Errorf("--quiet-faults: only spt guests report faults themselves; %s is built for hvt", g.Name)
	}
	if g.Profile != ProfileDefault {
		return nil, fmt.Errorf("--profile: an hvt guest makes no system calls; %s is built for hvt", g.Name)
	}
	isolation := g.Isolation()
	if g.Confine == kvmhvt.ConfineNone && (isolation.Mode == isolate.Full || isolation.Require != 0 || isolation.CPUTime != 0) {
		return nil, errors.New("--confine=none leaves out all layers: no --isolate=full, --require, --cgroup, --user or --cpu-time with it")
	}
	c := raw.New[kvmhvt.Config]()
	*c = kvmhvt.Config{
		Guest: device.Guest{
			Image:   g.Image,
			File:    g.File,
			Memory:  kvmhvt.RoundMemory(g.Memory),
			Devices: set.Devices,
			Args:    g.CommandLine(),
			Warn:    g.Prog == "", // Solo5's tenders do not
		},
		Isolate: isolation,
		CPL:     g.CPL,
		EOF:     g.EOF,
		NetRing: g.NetRing,
		Console: 1,
		Confine: g.Confine,
		Trace:   g.Trace,
		Debug:   g.Debug,
		KVM:     g.KVM,
		Verbose: g.Verbose,
		Prog:    "gocat",
		Name:    g.process(),
		Unblock: g.Unblock,
		Failure: NotStarted,
	}
	switch {
	case g.sealed != nil:
		c.GuestArgs = g.own
		c.Title = g.title("sealed")
	case g.Kernel != "":
		c.GuestArgs = len(g.Args)
	}
	if g.warm != nil {
		var err error
		if c.Warm, err = kvmhvt.DecodeWarm(g.warm); err != nil {
			return nil, err
		}
		c.Title = g.title("warm")
	}
	if g.Prog != "" {
		c.Prog, c.Solo5, c.Failure = g.Prog, true, 1 // as Solo5 has it
	}
	return c, nil
}

// runHVT runs the guest and ends the process with its status. It returns only on
// error. A process in which the Go runtime has started becomes one without, in
// which all of this happens again.
func runHVT(g *Guest, set *device.Set) error {
	c, err := g.HVT(set)
	if err != nil {
		return err
	}
	if !raw.Early() {
		if err := kvmhvt.Try(c); err != nil {
			return err
		}
		return restart(set.Devices, c.Trace, c.Debug, c.KVM, g.Options.File) // all other descriptors are closed on exec
	}
	if c.ELF = g.sealed; c.ELF == nil {
		c.ELF = g.Map()
	}
	return kvmhvt.Run(c)
}

// policyHVT returns what the tender may call while the guest runs.
func policyHVT(g *Guest, set *device.Set) (*seccomp.Policy, error) {
	c, err := g.HVT(set)
	if err != nil {
		return nil, err
	}
	return kvmhvt.Policy(c)
}
