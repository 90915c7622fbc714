package gobuild

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"gocat/internal/image"
)

func TestVersions(t *testing.T) {
	for version, known := range map[string]bool{
		"go1.26": true, "go1.26.8": true, "go1.26rc1": true, "go1.25.12": true, "go1.27-custom": true,
		"go1.24.9": false, "go1.2": false, "go1.260": false, "go1.28": false, "devel go1.28-abc": false, "": false,
	} {
		r, err := releaseOf(version)
		if (err == nil) != known || known && !strings.HasPrefix(version, r.name) {
			t.Errorf("%q: %v", version, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "toolchain "+version+" ") || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: error %q", version, err)
		}
	}
}

// The installed toolchain is as the patches expect it, and what they leave has
// no SYSCALL instruction.
func TestPatches(t *testing.T) {
	tool, err := findToolchain(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	files, err := apply(patches(tool.release), tool.version, tool.source)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for name, b := range files {
		if instruction.Match(b) {
			t.Errorf("%s still has a SYSCALL", name)
		}
		calls += bytes.Count(b, []byte(gateCall))
	}
	if calls != 40+2+3+1 {
		t.Errorf("%d calls of the gate", calls)
	}
}

// A source with one site more, or one fewer, is refused by name.
func TestUnexpectedSources(t *testing.T) {
	tool, err := findToolchain(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range patches(tool.release) {
		src, err := tool.source(p.file)
		if err != nil {
			t.Fatal(err)
		}
		first := p.old.Find(src)
		for what, changed := range map[string][]byte{
			"more":  append(append(bytes.Clone(src), '\n'), first...),
			"fewer": bytes.Replace(src, first, nil, 1),
		} {
			_, err := apply([]patch{p}, "go1.26.99", func(string) ([]byte, error) { return changed, nil })
			found := p.sites + 1
			if what == "fewer" {
				found = p.sites - 1
			}
			want := fmt.Sprintf("toolchain go1.26.99 is not as gocat build knows it: %d places", found)
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), p.file) {
				t.Errorf("%s, %s: %v", p.file, what, err)
			}
		}
	}
}

func TestManifestFile(t *testing.T) {
	const good = `{"type": "solo5.manifest", "version": 1, "devices": [
		{"name": "service", "type": "NET_BASIC"}, {"name": "storage", "type": "BLOCK_BASIC"}]}`
	m, err := ReadManifest(strings.NewReader(good))
	if err != nil || len(m) != 3 || m[1] != (image.Entry{Name: "service", Type: image.Net}) || m[2].Type != image.Block {
		t.Fatalf("%+v, %v", m, err)
	}
	var b bytes.Buffer
	if err := WriteManifest(&b, m); err != nil {
		t.Fatal(err)
	}
	again, err := ReadManifest(&b)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
		t.Errorf("%+v came back as %+v, %v", m, again, err)
	}

	device := func(name string) string { return `{"name": "` + name + `", "type": "NET_BASIC"}` }
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, device(fmt.Sprint("n", i)))
		}
		return strings.Join(all, ",")
	}
	devices := func(d string) string {
		return `{"type": "solo5.manifest", "version": 1, "devices": [` + d + `]}`
	}
	if m, err := ReadManifest(strings.NewReader(devices(list(63)))); err != nil || len(m) != 64 {
		t.Errorf("63 devices: %d, %v", len(m), err)
	}
	for name, c := range map[string][2]string{
		"empty":         {"", "EOF"},
		"not JSON":      {"devices", "invalid character"},
		"truncated":     {good[:60], "unexpected EOF"},
		"more":          {good + "x", "more after its end"},
		"another type":  {strings.Replace(good, "solo5.manifest", "solo5.abi", 1), `type "solo5.abi"`},
		"version":       {strings.Replace(good, "1", "2", 1), "version 2"},
		"unknown field": {strings.Replace(good, "version", "versions", 1), `unknown field "versions"`},
		"device type":   {strings.Replace(good, "NET_BASIC", "NET", 1), `has type "NET", expected NET_BASIC or BLOCK_BASIC`},
		"no name":       {devices(device("")), "want letters and digits"},
		"bad name":      {devices(device("a-b")), `device name "a-b": want letters and digits`},
		"long name":     {devices(device(strings.Repeat("x", 68))), "68 characters, at most 67"},
		"twice":         {devices(device("a") + "," + device("a")), `device "a" is declared twice`},
		"64 devices":    {devices(list(64)), "at most 63 devices"},
		"too long":      {strings.Repeat(" ", 1<<20+1), "longer than"},
	} {
		if _, err := ReadManifest(strings.NewReader(c[0])); err == nil || !strings.Contains(err.Error(), c[1]) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, expected %q", name, err, c[1])
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add(`{"type": "solo5.manifest", "version": 1, "devices": [{"name": "a", "type": "NET_BASIC"}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ReadManifest(strings.NewReader(s))
		if err != nil {
			return
		}
		if _, err := image.ParseManifest(m.AppendTo(nil)); err != nil {
			t.Errorf("%+v: %v", m, err)
		}
	})
}
