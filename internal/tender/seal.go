package tender

import (
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/kvmhvt"
	"gocat/seccomp"
	"gocat/spt"
)

// Boot runs guests up to where they wait, and calls use with their state.
type Boot interface {
	Take(c *spt.Config, use func(*spt.Warm) error) error
	// TakeHVT gets the command line of the guest's tender from args, for the
	// descriptor over which the tender is asked.
	TakeHVT(c *kvmhvt.Config, args func(fd int) []string, use func(*kvmhvt.Warm) error) error
}

// Seal writes the guest as an executable with its devices and policy fixed.
// Interfaces and descriptors need not exist yet, block devices must.
//
// If boot is not nil, the guest is sealed in the state in which that stops it.
func (g *Guest) Seal(w io.Writer, boot Boot) error {
	if g.Image.Target == image.HVT {
		return g.sealHVT(w, boot)
	}
	g.Devices.Guest = g.Name
	set, err := device.Prepare(g.Image.Manifest, &g.Devices)
	if err != nil {
		return g.Mend(err)
	}
	defer set.Close()
	c, err := g.SPT(set)
	if err != nil {
		return err
	}
	c.Isolate.Host = isolate.Host{} // it may run on another
	if dir := &c.Isolate.Group.Dir; *dir != "" {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	for i := range c.Devices {
		if d := &c.Devices[i]; d.Type == image.Block && !d.Inherited {
			if d.Path, err = filepath.Abs(d.Path); err != nil {
				return err
			}
		}
	}
	c.Title, c.Note = g.title("sealed"), g.describe(set)
	if boot == nil {
		return g.Mend(spt.Seal(c, w))
	}
	c.Title = g.title("warm")
	return g.Mend(boot.Take(c, func(warm *spt.Warm) error {
		size := uint64(0)
		for i := range warm.Memory {
			size += warm.Memory[i].Size
		}
		for i := range c.Devices {
			c.Devices[i].Modified = modified(&c.Devices[i])
		}
		c.Warm, c.Note = warm, append(c.Note, describeWarm(int(size), len(warm.Memory), warm.Once)...)
		return spt.Seal(c, w)
	}))
}

// modified is when the file of a block device was last written to, or 0.
func modified(d *device.Device) [2]uint64 {
	var st unix.Stat_t
	if d.Type != image.Block || d.Inherited || unix.Stat(d.Path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return [2]uint64{}
	}
	return [2]uint64{uint64(st.Mtim.Sec), uint64(st.Mtim.Nsec)}
}

// Policy returns what the guest may call, sealed with the devices as given, and
// those devices. Interfaces and descriptors need not exist, block devices must.
// For spt the calls are the guest's own, with the descriptor numbers of the sealed
// guest; for hvt they are the tender's.
func (g *Guest) Policy() (*seccomp.Policy, []device.Device, error) {
	set, err := device.Prepare(g.Image.Manifest, &g.Devices)
	if err != nil {
		return nil, nil, g.Mend(err)
	}
	set.Close() // the guest's own will have other numbers; Close sets theirs to -1
	policy := policySPT
	if g.Image.Target == image.HVT {
		policy = policyHVT
	}
	p, err := policy(g, set)
	return p, set.Devices, g.Mend(err)
}
