package tender

import (
	"fmt"
	"io"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/seccomp"
	"gocat/spt"
)

// Seal writes the guest as an executable with its devices and policy fixed.
// Interfaces and descriptors need not exist yet, block devices must.
func (g *Guest) Seal(w io.Writer) error {
	set, err := g.prepare("seals")
	if err != nil {
		return err
	}
	defer set.Close()
	c, err := g.SPT(set)
	if err != nil {
		return err
	}
	return spt.Seal(c, w)
}

// Policy returns what the guest may call, sealed with the devices as given, and
// those devices. Interfaces and descriptors need not exist, block devices must.
// Descriptor numbers are those of the sealed guest.
func (g *Guest) Policy() (*seccomp.Policy, []device.Device, error) {
	set, err := g.prepare("has policies of")
	if err != nil {
		return nil, nil, err
	}
	set.Close() // the guest's own will have other numbers; Close sets theirs to -1
	c, err := g.SPT(set)
	if err != nil {
		return nil, nil, err
	}
	p, err := spt.Policy(c)
	return p, c.Devices, err
}

// prepare attaches the devices as far as an executable for later needs it. what
// says in an error what was asked for.
func (g *Guest) prepare(what string) (*device.Set, error) {
	if g.Image.Target != image.SPT {
		return nil, fmt.Errorf("%s is built for %v: this version %s spt guests only", g.Name, g.Image.Target, what)
	}
	return device.Prepare(g.Image.Manifest, &g.Devices)
}
