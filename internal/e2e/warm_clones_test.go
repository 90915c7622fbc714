package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestWarmClones has many clones of a web server wait at the same time: what each has of
// its own is at most a tenth of what the server has in memory when it is started as usual.
func TestWarmClones(t *testing.T) {
	testhost.Slow(t)
	testhost.NeedRoot(t, "to read another process's memory map")
	const dir = "../../examples/httpd"
	download := exec.Command("go", "mod", "download")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("%s needs modules that cannot be had: %v: %s", dir, err, out))
	}
	eachBackend(t, func(t *testing.T, target image.Target) {
		clones := 1000
		if target == image.HVT {
			clones = 100 // KVM itself takes most of the memory of each
		}
		img := goImage(t, target, dir)
		dir, null := t.TempDir(), testhost.Null(t)
		start := func(path string) int {
			p := (&testhost.Command{Path: path, Files: []*os.File{wire(t), null, null}}).Start(t)
			p.WaitIdle()
			return p.Pid
		}
		for _, option := range []string{"--warm-at=listening", "--name=cold"} {
			seal := testhost.Command{Path: testhost.Gocat(t), Files: []*os.File{wire(t)},
				Args: []string{"seal", option, "-o", dir + "/" + option, "--mem=128", "--net", "service=@0", img, "--addr", "10.0.0.2/24"}}
			if r := seal.Run(t); r.Status != 0 {
				t.Fatalf("%+v", r)
			}
		}
		usual, _ := rollup(t, start(dir+"/--name=cold"))
		var pids []int
		for range clones {
			pids = append(pids, start(dir+"/--warm-at=listening"))
		}
		most := 0
		for _, pid := range pids {
			_, own := rollup(t, pid)
			most = max(most, own)
		}
		t.Logf("%d clones have at most %d KiB of their own, a server that was started as usual %d in memory", clones, most, usual)
		if 10*most > usual {
			t.Errorf("a clone has %d KiB of its own, of %d", most, usual)
		}
	})
}

// rollup returns what a process has in memory, and what of that is its own, in KiB.
func rollup(t *testing.T, pid int) (resident, own int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var n int
		fmt.Sscanf(line, "Rss: %d kB", &resident)
		for _, name := range []string{"Private_Clean", "Private_Dirty"} {
			if k, _ := fmt.Sscanf(line, name+": %d kB", &n); k == 1 {
				own += n
			}
		}
	}
	return resident, own
}

// wire is a network device on which nothing comes.
func wire(t *testing.T) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[1]) })
	return testhost.File(t, pair[0])
}
