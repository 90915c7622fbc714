package audit

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// docs/fuzzing.md has every fuzz target, with its package, and no other.
func TestFuzzTargets(t *testing.T) {
	const root = "../.."
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	have := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		for _, m := range target.FindAllSubmatch(b, -1) {
			have[dir+" "+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(root + "/docs/fuzzing.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| (\S+) (Fuzz[\w, ]+?) \|`).FindAllSubmatch(doc, -1) {
		for _, name := range strings.Split(string(m[2]), ", ") {
			listed[string(m[1])+" "+name] = true
		}
	}
	if len(have) == 0 || !maps.Equal(have, listed) {
		t.Errorf("in the code:\n%q\nin docs/fuzzing.md:\n%q", slices.Sorted(maps.Keys(have)), slices.Sorted(maps.Keys(listed)))
	}
}
