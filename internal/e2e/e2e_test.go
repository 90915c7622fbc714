// Package e2e tests the gocat program as its users run it.
package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// gocat is the path of the program under test.
var gocat string

func TestMain(m *testing.M) {
	testhost.Main(m, func(dir string) error {
		gocat = filepath.Join(dir, "gocat")
		return nil
	})
}

// big says that there is time for the sizes of the project's goals.
func big() bool { return os.Getenv("GOCAT_BIG") != "" }

// command is gocat with arguments.
func command(args ...string) *testhost.Command {
	return &testhost.Command{Path: gocat, Args: args, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}}
}

// ways has the two ways to start the bundled cat, or the image at kernel. The
// sealed one is an executable of its own.
func ways(t *testing.T, args ...string) map[string]*testhost.Command {
	t.Helper()
	sealed := filepath.Join(t.TempDir(), "sealed")
	r := command(append([]string{"seal", "-o", sealed}, args...)...).Run(t)
	if r.Status != 0 {
		t.Fatalf("gocat seal: %+v", r)
	}
	return map[string]*testhost.Command{
		"run":    command(append([]string{"run"}, args...)...),
		"sealed": {Path: sealed},
	}
}

// allWays has those of ways, and the bundled cat as an hvt guest. A test of it
// begins with needKVM.
func allWays(t *testing.T, args ...string) map[string]*testhost.Command {
	t.Helper()
	all := ways(t, args...)
	all["hvt"] = command(append([]string{"run", "--backend=hvt"}, args...)...)
	return all
}

// needKVM skips t where the way is hvt and this host cannot run its guests.
func needKVM(t *testing.T, way string) {
	t.Helper()
	if way != "hvt" {
		return
	}
	if err := kvmhvt.Available(); err != nil {
		testhost.Skip(t, err.Error())
	}
}

// probe writes the image of an spt guest that carries out steps, and returns its
// path.
func probe(t *testing.T, steps func(*guests.Probe)) string {
	t.Helper()
	return probeFor(t, image.SPT, steps)
}

// probeFor is probe for a guest of either target.
func probeFor(t *testing.T, target image.Target, steps func(*guests.Probe)) string {
	t.Helper()
	p := guests.NewProbe(target)
	steps(p)
	b, err := p.Image()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "probe."+target.String())
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// check compares the end of a process with what is wanted.
func check(t *testing.T, what string, got, want testhost.Result) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}
