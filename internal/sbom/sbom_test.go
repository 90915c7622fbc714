package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v", name, args, err)
	}
	return string(out)
}

// TestBill compares the bill of gocat with what go list says is in it, and with
// what CycloneDX 1.6 demands of such a document.
func TestBill(t *testing.T) {
	program := testhost.Gocat(t)
	var out bytes.Buffer
	if err := run([]string{program}, &out); err != nil {
		t.Fatal(err)
	}
	var b bom
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		t.Fatal(err)
	}
	if b.Format != "CycloneDX" || b.SpecVersion != "1.6" || b.Version < 1 {
		t.Errorf("%+v", b)
	}
	contents, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(contents)
	main := b.Metadata.Component
	if main.Type != "application" || main.Name != "gocat" || main.Version == "" || main.Licenses[0].License.ID != "ISC" ||
		len(main.Hashes) != 1 || main.Hashes[0] != (hash{"SHA-256", hex.EncodeToString(sum[:])}) {
		t.Errorf("%+v", main)
	}
	if !slices.Contains(main.Properties, property{"go:build:CGO_ENABLED", "0"}) {
		t.Errorf("no word of CGO_ENABLED=0 in %v", main.Properties)
	}

	want := []string{"std@" + strings.TrimPrefix(runtime.Version(), "go")}
	for _, m := range strings.Fields(command(t, "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}@{{.Version}}{{end}}{{end}}", "gocat/cmd/gocat")) {
		if !slices.Contains(want, m) {
			want = append(want, m)
		}
	}
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range b.Components {
		id := c.Name + "@" + c.Version
		got = append(got, id)
		if c.Type != "library" || c.PURL != "pkg:golang/"+id || c.Ref != c.PURL {
			t.Errorf("%+v", c)
		}
		line := c.Name + " " + c.Version + " "
		if c.Name != "std" && (len(c.Properties) != 1 || !strings.Contains(string(sums), line+c.Properties[0].Value+"\n")) {
			t.Errorf("go.sum has not the sum of %+v", c)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it lists %v, go list %v", got, want)
	}
}

func TestErrors(t *testing.T) {
	for _, args := range [][]string{nil, {"/nonexistent"}, {"sbom_test.go"}, {"a", "b"}} {
		if err := run(args, new(bytes.Buffer)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
