// Package testhost is the one place where a test may skip.
package testhost

import (
	"os"
	"testing"
)

// Skip skips t because the host lacks something. Where the environment says CI,
// the host is ours to choose and the lack is a failure.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("in CI nothing may be missing: " + reason)
	}
	t.Skip(reason)
}

// Solo5 returns the directory of a built Solo5 checkout, named by GOCAT_SOLO5.
// Without one it skips t, also in CI: such a checkout is no part of gocat.
func Solo5(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("GOCAT_SOLO5")
	if dir == "" {
		t.Skip("GOCAT_SOLO5 does not name a built Solo5 checkout")
	}
	return dir
}
