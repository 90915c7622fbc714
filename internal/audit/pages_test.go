package audit

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// pages are all documents for people, by their path below root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		names, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				t.Fatal(err)
			}
			all[rel] = string(b)
		}
	}
	return all
}

// Links between pages lead somewhere, and docs/README.md leads to every page.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	all := pages(t)
	linked := make(map[string]bool)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			target := filepath.Join(filepath.Dir(page), m[1])
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", page, m[1])
			}
			if page == "docs/README.md" {
				linked[target] = true
			}
		}
	}
	for page := range all {
		if strings.HasPrefix(page, "docs/") && page != "docs/README.md" && !linked[page] {
			t.Errorf("docs/README.md has no link to %s", page)
		}
	}
}

// CONTRIBUTING.md has every package below internal, and every variable that tests
// read.
func TestContributing(t *testing.T) {
	text := pages(t)["CONTRIBUTING.md"]
	dirs, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && !strings.Contains(text, "internal/"+d.Name()+" ") {
			t.Errorf("CONTRIBUTING.md does not say what internal/%s is", d.Name())
		}
	}
	variable := regexp.MustCompile(`(?:os\.Getenv\(|testhost\.Count\(t, )"(GOCAT_[A-Z0-9_]+)"`)
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "internal/testhost/") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range variable.FindAllStringSubmatch(string(b), -1) {
			if !strings.Contains(text, "`"+m[1]) {
				t.Errorf("CONTRIBUTING.md does not have %s, which %s reads", m[1], path)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
