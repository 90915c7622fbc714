package engines

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkLife measures a container's life, from create to delete, with gocat and
// with runc and crun on bundles of the same shape: one program, that ends at once.
// The runtimes take turns, in another order each round. Hierarchies of control
// groups are v1's alone, if the host has those: crun refuses to have v2's beside.
// Without control groups all that can do so are measured once more.
//
//	make test-oci OCIFLAGS='-run=NONE -bench=Life -benchtime=100x'
func BenchmarkLife(b *testing.B) {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		b.Fatalf("%v: install busybox-static", err)
	}
	type contender struct {
		name  string
		words []string
		*bundle
	}
	if _, err := os.Stat("/sys/fs/cgroup/unified"); err == nil {
		unix.Unmount("/sys/fs/cgroup/unified", unix.MNT_DETACH) // in these namespaces
	}
	for _, groups := range []string{"cgroupfs", "disabled"} {
		b.Run("cgroups="+groups, func(b *testing.B) {
			path, manager := "/gocat-bench", []string{"--cgroup-manager=disabled"}
			if groups == "cgroupfs" {
				manager = nil
			} else {
				path = ""
			}
			all := []contender{
				{"spt", append([]string{runtime()}, manager...), newBundle(b, filepath.Join(dir, "cat.spt"), path)},
				{"hvt", append([]string{runtime()}, manager...), newBundle(b, filepath.Join(dir, "cat.hvt"), path)},
				{"crun", append([]string{"crun"}, manager...), newBundle(b, busybox, path, "true")},
			}
			if groups == "cgroupfs" { // runc cannot do without
				all = append(all, contender{"runc", []string{"runc"}, newBundle(b, busybox, path, "true")})
			}
			root := b.TempDir()
			for i := len(all) - 1; i >= 0; i-- {
				if _, err := all[i].life(root, all[i].words); err != nil {
					b.Logf("%s is left out: %v", all[i].name, err)
					all = slices.Delete(all, i, i+1)
				}
			}
			took := map[string][]time.Duration{}
			for b.Loop() {
				for _, i := range rand.Perm(len(all)) {
					d, err := all[i].life(root, all[i].words)
					if err != nil {
						b.Fatal(err)
					}
					took[all[i].name] = append(took[all[i].name], d)
				}
			}
			b.ReportMetric(0, "ns/op")
			for name, d := range took {
				b.ReportMetric(float64(median(d))/1e6, name+"-ms")
				if name == "spt" || name == "hvt" {
					for _, other := range []string{"runc", "crun"} {
						if took[other] == nil {
							continue
						}
						ratios := make([]float64, len(d))
						for i := range d {
							ratios[i] = float64(d[i]) / float64(took[other][i])
						}
						b.ReportMetric(median(ratios), name+"/"+other)
					}
				}
			}
		})
	}
}

func median[T cmp.Ordered](all []T) T {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}

// life creates, starts and deletes a container, which ends by itself meanwhile.
func (b *bundle) life(root string, words []string) (time.Duration, error) {
	const id = "life"
	pidFile := filepath.Join(root, "pid")
	start := time.Now()
	for _, step := range [][]string{{"create", "--pid-file", pidFile, id}, {"start", id}, {"delete", id}} {
		if step[0] == "delete" {
			pid, err := os.ReadFile(pidFile)
			if err != nil {
				return 0, err
			}
			for !gone(strings.TrimSpace(string(pid))) {
				if time.Since(start) > patience {
					return 0, fmt.Errorf("%s: the container does not end", words[0])
				}
				time.Sleep(100 * time.Microsecond)
			}
		}
		cmd := b.spawned(filepath.Join(root, filepath.Base(words[0])), append(slices.Clone(words), step...)...)
		said, err := os.CreateTemp(root, "said")
		if err != nil {
			return 0, err
		}
		cmd.Stderr = said
		err = cmd.Run()
		text, _ := os.ReadFile(said.Name())
		said.Close()
		os.Remove(said.Name())
		if err != nil {
			exec.Command(words[0], "--root", filepath.Join(root, filepath.Base(words[0])), "delete", "--force", id).Run()
			return 0, fmt.Errorf("%s %s: %v: %s", words[0], step[0], err, text)
		}
	}
	return time.Since(start), nil
}

// gone reports whether a process has ended.
func gone(pid string) bool {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
