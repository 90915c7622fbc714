package device

import (
	"bytes"
	"strings"
	"testing"

	"gocat/internal/image"
)

// Check refuses what no backend could run, in one line, and nothing else.
func TestCheckGuest(t *testing.T) {
	img := func() *image.Image {
		return &image.Image{Target: image.SPT, Version: 2, Entry: 0x100000, End: 0x101000, Manifest: image.Manifest{
			{Type: image.Reserved}, {Name: "net", Type: image.Net}, {Name: "disk", Type: image.Block}}}
	}
	good := func() *Guest {
		return &Guest{Image: img(), File: bytes.NewReader(nil), Memory: 2 << 20, Args: strings.Repeat("a", MaxArgs), Devices: []Device{
			{Handle: 1, Name: "net", Type: image.Net}, {Handle: 2, Name: "disk", Type: image.Block, BlockSize: 512, Capacity: 512}}}
	}
	if err := good().Check(image.SPT); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Guest){
		"no image":            func(g *Guest) { *g = Guest{} },
		"no file":             func(g *Guest) { g.File = nil },
		"for target hvt":      func(g *Guest) { g.Image.Target = image.HVT },
		"memory of 0 bytes":   func(g *Guest) { g.Memory = 0 },
		"whole pages":         func(g *Guest) { g.Memory++ },
		"past the guest's":    func(g *Guest) { g.Memory = 0x100000 },
		"8192 bytes long":     func(g *Guest) { g.Args += "a" },
		"line has a NUL":      func(g *Guest) { g.Args = "a\x00" },
		"handle 0, is not":    func(g *Guest) { g.Devices[0].Handle = 0 },
		"handle -1, is not":   func(g *Guest) { g.Devices[0].Handle = -1 },
		"handle 3, is not":    func(g *Guest) { g.Devices[0].Handle = 3 },
		"'net', handle 1, is": func(g *Guest) { g.Devices[0].Type = image.Block },
		"attached twice":      func(g *Guest) { g.Devices = append(g.Devices, g.Devices[0]) },
		"not one block":       func(g *Guest) { g.Devices[1].Capacity-- },
		"blocks of 0":         func(g *Guest) { g.Devices[1].BlockSize = 0 },
	} {
		g := good()
		spoil(g)
		if err := g.Check(image.SPT); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with %q", err, want)
		}
	}
}
