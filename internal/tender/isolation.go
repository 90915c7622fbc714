package tender

import (
	"gocat/internal/image"
	"gocat/internal/isolate"
)

// Isolation returns how to isolate the guest. It examines the host only where
// somebody may want to know why a layer is not in effect.
func (g *Guest) Isolation() isolate.Config {
	c := g.Isolate
	c.Cheap = isolate.CheapHVT
	if g.Image.Target == image.SPT {
		c.Cheap = isolate.CheapSPT
	}
	c.Report, c.Option = g.Verbose, "--"
	if c.Report || c.Mode == isolate.Full || c.Require != 0 {
		c.Host = isolate.ThisHost("")
	}
	return c
}
