package tender

import (
	"gocat/internal/image"
	"gocat/internal/isolate"
)

// Isolation returns how the guest is to be isolated. The host is only looked at
// where somebody may want to know why a layer does not hold.
func (g *Guest) Isolation() isolate.Config {
	c := g.Isolate
	c.Cheap = isolate.CheapHVT
	if g.Image.Target == image.SPT {
		c.Cheap = isolate.CheapSPT
	}
	c.Report = g.Verbose
	if c.Report || c.Mode == isolate.Full || c.Require != 0 {
		c.Host = isolate.ThisHost("")
	}
	return c
}
