package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// stdPackage is a package of testdata/std.txt.
type stdPackage struct {
	path  string
	quick bool
	fails map[string]string // tests that fail, and why
	skips []string
}

// stdPackages reads what testdata/std.txt says of a backend.
func stdPackages(t *testing.T, target image.Target) (all []stdPackage) {
	t.Helper()
	b, err := os.ReadFile("testdata/std.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] != '\t' {
			path, mark, _ := strings.Cut(line, " ")
			all = append(all, stdPackage{path: path, quick: mark == "*", fails: map[string]string{}})
			continue
		}
		name, reason, found := strings.Cut(line[1:], ": ")
		kind, name, _ := strings.Cut(name, " ")
		if !found || len(all) == 0 || name == "" || reason == "" {
			t.Fatalf("testdata/std.txt: %q", line)
		}
		if only, of, found := strings.Cut(name, " "); found {
			if only != target.String() {
				continue
			}
			name = of
		}
		switch p := &all[len(all)-1]; kind {
		case "fail":
			p.fails[name] = reason
		case "skip":
			p.skips = append(p.skips, name)
		default:
			t.Fatalf("testdata/std.txt: %q", line)
		}
	}
	return all
}

// TestStandardLibrary runs the standard library's own tests as unikernels.
func TestStandardLibrary(t *testing.T) {
	const reviewed = "go1.26" // the release that testdata/std.txt is for
	version, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	if v := strings.TrimSpace(string(version)); v != reviewed && !strings.HasPrefix(v, reviewed+".") {
		testhost.Skip(t, fmt.Sprintf("the standard library of %s has other tests than that of %s", v, reviewed))
	}
	for _, target := range backends {
		for _, p := range stdPackages(t, target) {
			if !p.quick && !big() {
				continue
			}
			t.Run(p.path+" "+target.String(), func(t *testing.T) {
				needKVM(t, target.String())
				img := goImage(t, target, p.path, "--test", "--tags", "timetzdata")
				defer os.Remove(img)
				args := []string{"run", "--backend=" + target.String(), "--mem=1024", img, "-test.v", "-test.short"}
				if p.skips != nil {
					args = append(args, "-test.skip=^("+strings.Join(p.skips, "|")+")$")
				}
				p.check(t, command(args...).Run(t))
			})
		}
	}
}

var verdict = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+) `)

// check compares what a package's tests printed with what is expected of them.
func (p *stdPackage) check(t *testing.T, r testhost.Result) {
	t.Helper()
	passed, failed := 0, map[string]bool{}
	for _, m := range verdict.FindAllStringSubmatch(r.Stdout, -1) {
		switch m[1] {
		case "PASS":
			passed++
		case "FAIL":
			failed[m[2]] = true
		}
	}
	status, last := 0, "\nPASS\n"
	if len(p.fails) > 0 {
		status, last = 1, "\nFAIL\n"
	}
	if r.Status != status || !strings.HasSuffix(r.Stdout, last) || passed == 0 {
		t.Errorf("status %d, %d tests passed, expected status %d and %q last: %s%s",
			r.Status, passed, status, last, r.Stdout[max(0, len(r.Stdout)-2000):], r.Stderr)
	}
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		if p.fails[name] == "" {
			_, from, _ := strings.Cut(r.Stdout, "=== RUN   "+name+"\n")
			t.Errorf("%s failed: %.2000s", name, from)
		}
	}
	for name, reason := range p.fails {
		if !failed[name] {
			t.Errorf("%s did not fail, though testdata/std.txt says: %s", name, reason)
		}
	}
	t.Logf("%d tests passed, %d failed as expected, %d were left out", passed, len(p.fails), len(p.skips))
}
