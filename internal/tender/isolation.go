package tender

import "gocat/internal/isolate"

// isolation returns how the guest is to be isolated. The host is only looked at
// where somebody may want to know why a layer does not hold.
func (g *Guest) isolation() isolate.Config {
	c := g.Isolate
	c.Report = g.Verbose
	if c.Report || c.Mode == isolate.Full || c.Require != 0 {
		c.Host = isolate.ThisHost("")
	}
	return c
}
