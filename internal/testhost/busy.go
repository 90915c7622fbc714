package testhost

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Busy has n processes of the lowest priority compute until the end of the test.
func Busy(t testing.TB, n int) {
	t.Helper()
	for range n {
		p := (&Command{Path: "/bin/nice", Args: []string{"-n19", "/bin/sh", "-c", "while :; do :; done"}}).Start(t)
		t.Cleanup(func() {
			p.Signal(unix.SIGKILL)
			p.Wait()
		})
	}
}
