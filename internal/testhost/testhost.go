// Package testhost is the one place where a test may skip.
package testhost

import (
	"os"
	"strconv"
	"testing"
)

// Skip skips t because the host lacks something. Where the environment says CI,
// the host is ours to choose and the lack is a failure.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("in CI nothing may be missing: " + reason)
	}
	skip(t, reason)
}

// NeedRoot skips t, which needs root to do what why says, where it does not run as
// root.
func NeedRoot(t testing.TB, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root, "+why)
	}
}

// Slow skips t where only quick tests run (go test -short, as make test does).
// It does so in CI too: this skip was asked for, and no capability of the host
// is missing.
func Slow(t testing.TB) {
	t.Helper()
	if testing.Short() {
		skip(t, "takes long: make test-all runs it")
	}
}

// skip skips t and notes why in the file that GOCAT_SKIPPED names, from which
// make test tells the user.
func skip(t testing.TB, reason string) {
	t.Helper()
	if name := os.Getenv("GOCAT_SKIPPED"); name != "" {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(reason + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip(reason)
}

// Solo5 returns the directory of a built Solo5 checkout, named by GOCAT_SOLO5.
// Without one it skips t, also in CI: such a checkout is no part of gocat.
func Solo5(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GOCAT_SOLO5")
	if dir == "" {
		skip(t, "GOCAT_SOLO5 does not name a built Solo5 checkout")
	}
	return dir
}

// Count is the number in an environment variable that says how often a test does
// something, or usual where it is not set.
func Count(t testing.TB, variable string, usual int) int {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return usual
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil || n == 0 {
		t.Fatalf("%s=%s: want a number from 1 on", variable, v)
	}
	return int(n)
}
