package tender

import (
	"fmt"
	"io"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/seccomp"
	"gocat/spt"
)

// Seal writes the guest as an executable with its devices and policy fixed.
// Interfaces and descriptors need not exist yet, block devices must.
func (g *Guest) Seal(w io.Writer) error {
	if g.Image.Target != image.SPT {
		return fmt.Errorf("%s is built for %v: only spt guests can be sealed", g.Name, g.Image.Target)
	}
	set, err := device.Prepare(g.Image.Manifest, &g.Devices)
	if err != nil {
		return err
	}
	defer set.Close()
	c, err := g.SPT(set)
	if err != nil {
		return err
	}
	c.Isolate.Host = isolate.Host{} // it may run on another
	return spt.Seal(c, w)
}

// Policy returns what the guest may call, sealed with the devices as given, and
// those devices. Interfaces and descriptors need not exist, block devices must.
// For spt they are
// the guest's own calls, with the descriptor numbers of the sealed guest; for hvt
// the tender's.
func (g *Guest) Policy() (*seccomp.Policy, []device.Device, error) {
	set, err := device.Prepare(g.Image.Manifest, &g.Devices)
	if err != nil {
		return nil, nil, err
	}
	set.Close() // the guest's own will have other numbers; Close sets theirs to -1
	b, err := g.backend()
	if err != nil {
		return nil, nil, err
	}
	p, err := b.Policy(g, set)
	return p, set.Devices, err
}
