package tender

import (
	"gocat/internal/raw"
	"gocat/spt"
)

// title is the command line that ps shows of a guest, its words apart by NULs: of an
// spt guest, and of a sealed hvt guest's tender. An spt guest can read it, so it has no
// paths and no devices of the host's, and no arguments of the guest's, which may be
// secret: others read it too.
//
//	gocat run --backend=spt --mem=512 [--name=NAME] [web.spt]
//
// Of a sealed guest the second word is sealed, or warm.
func (g *Guest) title(how string) string {
	t := raw.Concat("gocat\x00", how, "\x00--backend=", g.Image.Target.String(), "\x00--mem=", raw.Decimal(g.Memory>>20))
	if g.Label != "" {
		t = raw.Concat(t, "\x00--name=", g.Label)
	}
	if g.Kernel != "" {
		name := base(g.Kernel)
		t = raw.Concat(t, "\x00", name[:min(len(name), spt.MaxTitle-len(t)-1)])
	}
	return t
}

// process is the name of the guest's process.
func (g *Guest) process() string {
	if g.Label != "" {
		return g.Label
	}
	return g.Name
}
