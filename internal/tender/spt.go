package tender

import (
	"fmt"

	"gocat/internal/device"
	"gocat/internal/raw"
	"gocat/seccomp"
	"gocat/spt"
)

// SPT returns the spt backend's configuration of the guest with its devices.
func (g *Guest) SPT(set *device.Set) (*spt.Config, error) {
	if g.EOF == device.EOFAgain {
		return nil, fmt.Errorf("--eof=again: an spt guest reads its descriptors itself and sees their end; only --backend=hvt can hide it")
	}
	if d := &defaults; g.CPL != d.CPL || g.NetRing != d.NetRing || g.Confine != d.Confine {
		return nil, fmt.Errorf("--cpl, --net-ring and --confine are for hvt guests; %s is built for spt", g.Name)
	}
	c := raw.New[spt.Config]()
	*c = spt.Config{
		Guest: device.Guest{
			Image:   g.Image,
			File:    g.File,
			Memory:  g.Memory,
			Devices: set.Devices,
			Args:    g.CommandLine(),
			Warn:    g.Prog == "", // Solo5's tenders do not
		},
		Isolate:     g.Isolation(),
		Name:        g.process(),
		Strict:      g.Profile == ProfileStrict || g.Profile == ProfileDefault && g.Kernel == "",
		QuietFaults: g.QuietFaults,
		ExecHeap:    g.ExecHeap,
		Title:       g.title("run"),
		LessMemory:  "give less with --mem",
		Unblock:     g.Unblock,
		Failure:     NotStarted,
	}
	if g.Prog != "" {
		c.Failure = 1 // as Solo5 has it
	}
	return c, nil
}

// runSPT makes the process the guest. It returns only on error.
func runSPT(g *Guest, set *device.Set) error {
	c, err := g.SPT(set)
	if err != nil {
		return err
	}
	return spt.Run(c)
}

// policySPT returns what the guest may call.
func policySPT(g *Guest, set *device.Set) (*seccomp.Policy, error) {
	c, err := g.SPT(set)
	if err != nil {
		return nil, err
	}
	return spt.Policy(c)
}
