package image

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// TestSolo5Images parses every image of Solo5's own test suite.
func TestSolo5Images(t *testing.T) {
	dir := testhost.Solo5(t)
	var paths []string
	for _, pattern := range []string{"*.hvt", "*.spt"} {
		p, err := filepath.Glob(filepath.Join(dir, "tests", "*", pattern))
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, p...)
	}
	if len(paths) < 20 {
		t.Fatalf("%d images under %s: is it a built checkout?", len(paths), dir)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(bytes.NewReader(b))
		if strings.HasSuffix(path, "buggyelf.hvt") {
			if err == nil || !strings.Contains(err.Error(), "note does not fall within valid size") {
				t.Errorf("%s: error %v, expected one about the note's size", path, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if want := strings.TrimPrefix(filepath.Ext(path), "."); m.Target.String() != want {
			t.Errorf("%s: target %v, expected %s", path, m.Target, want)
		}
		checkInvariants(t, b, m)
		if err := m.CheckMemory(512 * MB); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
