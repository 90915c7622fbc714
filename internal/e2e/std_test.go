package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// TestStandardLibrary runs the standard library's own tests as unikernels.
func TestStandardLibrary(t *testing.T) {
	testhost.Slow(t)
	const reviewed = "go1.26" // the release that testdata/std.txt is for
	version, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	if v := strings.TrimSpace(string(version)); v != reviewed && !strings.HasPrefix(v, reviewed+".") {
		testhost.Skip(t, fmt.Sprintf("the standard library of %s has other tests than that of %s", v, reviewed))
	}
	for _, target := range backends {
		for _, p := range readReviewed(t, "testdata/std.txt", target) {
			if !p.quick && !big() {
				continue
			}
			path := p.words[0]
			t.Run(path+" "+target.String(), func(t *testing.T) {
				needKVM(t, target.String())
				img := goImage(t, target, path, "--test", "--tags", "timetzdata")
				defer os.Remove(img)
				args := []string{"run", "--backend=" + target.String(), "--mem=1024", img, "-test.v", "-test.short"}
				p.check(t, command(append(args, leaveOut(p.skips...)...)...).Run(t))
			})
		}
	}
}

// check compares what a package's tests printed with what is expected of them.
func (p *reviewed) check(t *testing.T, r testhost.Result) {
	t.Helper()
	all := verdicts(r.Stdout)
	passed := len(with("PASS", all))
	status, last := 0, "\nPASS\n"
	if len(p.fails) > 0 {
		status, last = 1, "\nFAIL\n"
	}
	if r.Status != status || !strings.HasSuffix(r.Stdout, last) || passed == 0 {
		t.Errorf("status %d, %d tests passed, expected status %d and %q last: %s%s",
			r.Status, passed, status, last, r.Stdout[max(0, len(r.Stdout)-2000):], r.Stderr)
	}
	for _, name := range with("FAIL", all) {
		if p.fails[name] == "" {
			t.Errorf("failed: %s", from(r.Stdout, name, 2000))
		}
	}
	for name, reason := range p.fails {
		if all[name] != "FAIL" {
			t.Errorf("%s did not fail, though testdata/std.txt says: %s", name, reason)
		}
	}
	t.Logf("%d tests passed, %d failed as expected, %d were left out", passed, len(p.fails), len(p.skips))
}
