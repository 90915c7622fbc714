package engines

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// leftovers are runtimes, guests, their states and mounts.
func leftovers() (all []string) {
	processes, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range processes {
		if path, err := os.Readlink(exe); err == nil && (strings.HasPrefix(path, dir) || strings.Contains(path, "memfd:")) {
			all = append(all, exe+" is "+path)
		}
	}
	states, _ := filepath.Glob("/run/gocat*/*")
	all = append(all, states...)
	for _, line := range mounts() {
		if strings.Contains(line, "gocat") && !slices.Contains(mountsBefore, line) {
			all = append(all, line)
		}
	}
	return all
}

// mountsBefore are those that were there when the tests began.
var mountsBefore = mounts()

func mounts() []string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	return strings.Split(string(b), "\n")
}

// wantNothingLeft fails t if something is left when the engines have ended.
func wantNothingLeft(t *testing.T) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		left := leftovers()
		if len(left) == 0 {
			return
		}
		if time.Since(start) > patience/2 {
			t.Fatalf("left over:\n%s", strings.Join(left, "\n"))
		}
	}
}

// TestKilledRuntime kills the runtime at random moments of every step of a
// container's life. Deleting it by force, as engines do, then leaves nothing, and
// its name can be used again.
func TestKilledRuntime(t *testing.T) {
	steps := [][]string{{"create"}, {"start"}, {"pause"}, {"resume"}, {"kill"}, {"delete", "--force"}}
	for _, backend := range backends {
		t.Run(backend, func(t *testing.T) {
			group := filepath.Base(dir) + "-killed" // as no test before has left one
			root := t.TempDir()
			said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			b := newBundle(t, filepath.Join(dir, "tool."+backend), "/"+group, "wait")
			killed := make(map[string]int)
			took := make(map[string]time.Duration) // by a step, when last it was not killed
			for round := range 20 * len(steps) {
				at := round % len(steps)
				id := fmt.Sprintf("killed-%d", round%3)
				for i, step := range steps[:at+1] {
					words := append(append([]string{runtime()}, step...), id)
					if step[0] == "kill" {
						words = append(words, "KILL")
					}
					cmd := b.spawned(root, words...)
					cmd.Stderr = said // a file, since the container keeps it open
					if i < at {
						start := time.Now()
						err := cmd.Run()
						took[step[0]] = time.Since(start)
						if err != nil {
							text, _ := os.ReadFile(said.Name())
							t.Fatalf("round %d: %v: %v: %s", round, words, err, text)
						}
						continue
					}
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Duration(rand.Int64N(int64(max(took[step[0]], 5*time.Millisecond)))))
					cmd.Process.Kill()
					cmd.Wait()
					if cmd.ProcessState.ExitCode() == -1 {
						killed[step[0]]++
					}
				}
				cmd := b.spawned(root, runtime(), "delete", "--force", id)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("round %d, killed at %s: delete --force: %v: %s", round, steps[at][0], err, out)
				}
				states, _ := filepath.Glob(root + "/*")
				deadline := time.Now().Add(patience / 2)
				for left := leftovers(); len(left)+len(states)+len(groupsLeft(group)) > 0; left = leftovers() {
					if time.Now().After(deadline) {
						t.Fatalf("round %d, killed at %s, left: %q, %q, %q", round, steps[at][0], left, states, groupsLeft(group))
					}
					time.Sleep(10 * time.Millisecond)
					states, _ = filepath.Glob(root + "/*")
				}
			}
			t.Logf("killed of 20 each: %v", killed)
			if len(killed) < len(steps)/2 {
				t.Errorf("hardly any was killed before its end")
			}
		})
	}
}
