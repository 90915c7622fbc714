package kvmhvt

import (
	"bytes"
	"testing"

	"gocat/internal/device"
	"gocat/internal/image"
)

// TestConfigRefused has configurations that are not complete: each is an error,
// with nothing started.
func TestConfigRefused(t *testing.T) {
	good := func() *Config {
		img := &image.Image{Target: image.HVT, Version: 2, Entry: minBase, End: minBase, Manifest: image.Manifest{{Type: image.Reserved}}}
		return &Config{Guest: device.Guest{Image: img, File: bytes.NewReader(nil), Memory: 2 << 20}, CPL: 3, Console: 1, Trace: NoFD, Debug: NoFD, KVM: NoFD, Failure: 1}
	}
	if _, err := Policy(good()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*Config){
		"nothing":          func(c *Config) { *c = Config{} },
		"no file":          func(c *Config) { c.File = nil },
		"another target":   func(c *Config) { c.Image.Target = image.SPT },
		"another version":  func(c *Config) { c.Image.Version = 3 },
		"level 1":          func(c *Config) { c.CPL = 1 },
		"no console":       func(c *Config) { c.Console = 0 },
		"a trace on 0":     func(c *Config) { c.Trace = 0 },
		"no exit status":   func(c *Config) { c.Failure = 0 },
		"too little":       func(c *Config) { c.Image.End = 4 << 20 },
		"a foreign device": func(c *Config) { c.Devices = []device.Device{{Handle: 1, Type: image.Net}} },
	} {
		c := good()
		spoil(c)
		_, policy := Policy(c)
		for what, err := range map[string]error{"Run": Run(c), "Try": Try(c), "Policy": policy} {
			if err == nil {
				t.Errorf("%s takes %s", what, name)
			}
		}
	}
}
