package gobuild

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"

	"gocat/internal/image"
)

// What a manifest.json says of itself (Solo5 docs/building.md).
const (
	manifestType    = "solo5.manifest"
	manifestVersion = 1
)

type manifestJSON struct {
	Type    string       `json:"type"`
	Version int          `json:"version"`
	Devices []deviceJSON `json:"devices"`
}

type deviceJSON struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// ReadManifest reads a manifest in the JSON format of Solo5's elftool.
func ReadManifest(r io.Reader) (image.Manifest, error) {
	const most = 1 << 20
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if len(b) > most {
		return nil, fmt.Errorf("manifest is longer than %d bytes", most)
	}
	var m manifestJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("manifest: more after its end, at byte %d", d.InputOffset())
	}
	if m.Type != manifestType || m.Version != manifestVersion {
		return nil, fmt.Errorf("manifest: type %q, version %d: expected %q, version %d",
			m.Type, m.Version, manifestType, manifestVersion)
	}
	mft := NewManifest()
	for _, dev := range m.Devices {
		typ := image.DeviceType(0)
		switch dev.Type {
		case image.Net.String():
			typ = image.Net
		case image.Block.String():
			typ = image.Block
		default:
			return nil, fmt.Errorf("manifest: device %q has type %q, expected %v or %v", dev.Name, dev.Type, image.Net, image.Block)
		}
		if mft, err = Declare(mft, typ, dev.Name); err != nil {
			return nil, err
		}
	}
	return mft, nil
}

// ReadManifestFile is ReadManifest of the file at path.
func ReadManifestFile(path string) (image.Manifest, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := ReadManifest(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// NewManifest is a manifest without devices.
func NewManifest() image.Manifest { return image.Manifest{{Type: image.Reserved}} }

// Declare adds a device to a manifest. Names have to be unique over all types,
// because a program finds a device by its name alone.
func Declare(m image.Manifest, typ image.DeviceType, name string) (image.Manifest, error) {
	switch {
	case len(m) == image.MaxEntries:
		return nil, fmt.Errorf("device %q: a manifest has at most %d devices", name, image.MaxEntries-1)
	case len(name) > image.MaxName:
		return nil, fmt.Errorf("device name %.20q... has %d characters, at most %d", name, len(name), image.MaxName)
	}
	for _, e := range m[1:] {
		if e.Name == name {
			return nil, fmt.Errorf("device %q is declared twice", name)
		}
	}
	next := append(m[:len(m):len(m)], image.Entry{Name: name, Type: typ})
	// The parser of images knows the rest of what a name may be.
	if _, err := image.ParseManifest(next.AppendTo(nil)); err != nil {
		return nil, fmt.Errorf("device name %s: want letters and digits", strconv.Quote(name))
	}
	return next, nil
}

// WriteManifest writes a manifest in the JSON format of Solo5's elftool, byte for
// byte: a device a line.
func WriteManifest(w io.Writer, m image.Manifest) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"type\": %q,\n  \"version\": %d,\n  \"devices\": [", manifestType, manifestVersion)
	separator := "\n"
	for _, e := range m {
		if e.Type != image.Reserved { // a name is letters and digits alone
			fmt.Fprintf(&b, "%s    { \"name\": %q, \"type\": %q }", separator, e.Name, e.Type.String())
			separator = ",\n"
		}
	}
	b.WriteString("\n  ]\n}\n")
	_, err := w.Write(b.Bytes())
	return err
}

// WriteManifestSource writes a manifest as the C source that Solo5's header
// mft_abi.h makes a note of, for programs that are linked with Solo5's bindings.
func WriteManifestSource(w io.Writer, m image.Manifest) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "/* Made by gocat manifest gen. */\n#define MFT_ENTRIES %d\n#include \"mft_abi.h\"\n\n", len(m))
	fmt.Fprintf(&b, "MFT1_NOTE_DECLARE_BEGIN\n{\n  .version = MFT_VERSION, .entries = %d,\n  .e = {\n", len(m))
	for _, e := range m {
		typ := "MFT_RESERVED_FIRST"
		if e.Type != image.Reserved {
			typ = "MFT_DEV_" + e.Type.String()
		}
		fmt.Fprintf(&b, "    { .name = \"%s\", .type = %s },\n", e.Name, typ)
	}
	fmt.Fprintf(&b, "  }\n}\nMFT1_NOTE_DECLARE_END\n")
	_, err := w.Write(b.Bytes())
	return err
}
