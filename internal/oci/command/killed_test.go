package command_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestKilled kills the runtime at random moments of its verbs: what it leaves is
// nothing that delete --force does not remove.
func TestKilled(t *testing.T) {
	rounds := 12
	if !testing.Short() {
		rounds = 100
	}
	backends(t, func(t *testing.T, target image.Target) {
		b := newBox(t, cat(t, target))
		rest := map[string]int{}
		for n := range rounds {
			verbs := [][]string{{"create", b.id}, {"start", b.id}, {"delete", "--force", b.id}}
			for _, verb := range verbs[:1+n%3] {
				cmd := b.command(verb...)
				cmd.Stdin = testhost.Null(t)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rand.IntN(30_000)) * time.Microsecond)
				cmd.Process.Kill()
				cmd.Wait()
			}
			rest[strings.TrimSpace(b.do("list", "-q").stdout)]++
			b.must("delete", "--force", b.id)
			awaitNone(t, b)
		}
		t.Logf("left after the kill: %v", rest)
	})
}

// awaitNone waits until there is no process in the container: one that sees its
// runtime's end takes a moment.
func awaitNone(t testing.TB, b *box) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if !inContainer(b) {
			break
		}
		if time.Now().After(deadline) {
			break
		}
	}
	b.nothingLeft()
}

func inContainer(b *box) bool {
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		mounts, err := os.ReadFile("/proc/" + p.Name() + "/mountinfo")
		if err == nil && strings.Contains(string(mounts), b.bundle) {
			return true
		}
	}
	return false
}
