package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// suiteSetup makes the interfaces that Solo5's tests expect, then runs the
// tests of tests.bats that its argument selects.
const suiteSetup = `set -e
ip link set lo up
for n in 100 101 102; do ip tuntap add tap$n mode tap; done
ip addr add 10.0.0.1/24 dev tap100
ip addr add 10.1.0.1/24 dev tap101
ip link set tap102 mtu 9000
for n in 100 101 102; do ip link set tap$n up; done
exec bats --tap --filter "$1" tests.bats`

// Solo5's own test suite, unmodified, finds links to gocat where it looks for
// solo5-spt, solo5-hvt and solo5-hvt-debug.
func TestSolo5Suite(t *testing.T) {
	solo5, err := filepath.Abs(testhost.Solo5(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"bats", "ip", "ping"} {
		if _, err := exec.LookPath(tool); err != nil {
			testhost.Skip(t, err.Error())
		}
	}
	testhost.NeedRoot(t, "to make taps")
	// The suite goes up from its own directory to the tender, so that
	// directory is a real one and its contents are links.
	dir := t.TempDir()
	entries, err := os.ReadDir(filepath.Join(solo5, "tests"))
	if err != nil {
		t.Fatal(err)
	}
	links := []string{"Makeconf.sh"}
	for _, e := range entries {
		if e.IsDir() {
			links = append(links, "tests/"+e.Name())
		}
	}
	suite, err := os.ReadFile(filepath.Join(solo5, "tests/tests.bats"))
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"tests", "tenders/spt", "tenders/hvt"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "tests/tests.bats"), suite, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if err := os.Symlink(filepath.Join(solo5, link), filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	tenders := []string{"spt"}
	if err := kvmhvt.Available(); err != nil {
		t.Logf("without the hvt tests: %v", err)
	} else {
		tenders = append(tenders, "hvt")
	}
	for _, name := range []string{"spt/solo5-spt", "hvt/solo5-hvt", "hvt/solo5-hvt-debug"} {
		if err := os.Symlink(program, filepath.Join(dir, "tenders", name)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	suiteTests := regexp.MustCompile(`(?m)^@test "(.* (?:` + strings.Join(tenders, "|") + `)|noexec.*)" \{`)
	for _, m := range suiteTests.FindAllSubmatch(suite, -1) {
		names = append(names, string(m[1]))
	}

	cmd := exec.Command("sh", "-c", suiteSetup, "suite", "^("+strings.Join(names, "|")+")$")
	cmd.Dir = filepath.Join(dir, "tests")
	cmd.Env = append(os.Environ(), "BATS_TMPDIR="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	passed := 0
	for line := range strings.Lines(string(out)) {
		// rnow and the like are for OpenBSD; package kvmhvt has its own tests of them.
		if strings.HasPrefix(line, "ok ") && (!strings.Contains(line, "# skip") || strings.Contains(line, "not supported on Linux")) {
			passed++
			t.Log(strings.TrimSpace(line))
		}
	}
	if err != nil || passed == 0 || passed != len(names) {
		t.Errorf("%d of %d tests passed: %v\n%s", passed, len(names), err, out)
	}
}
