package goguests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// gocat is the program under test, images the directory of the images.
var gocat, images string

func TestMain(m *testing.M) {
	testhost.Main(m, func(dir string) error {
		gocat, images = filepath.Join(dir, "gocat"), os.Getenv("GOCAT_IMAGES")
		if images != "" {
			return nil
		}
		images, builds = dir, map[string]func() error{}
		for _, p := range Programs {
			for _, target := range targets {
				path := filepath.Join(dir, p.Name+"."+target.String())
				builds[path] = sync.OnceValue(func() error { return build(p, target, path) })
			}
		}
		return nil
	})
}

// builds build the images, each once and when it is needed, where the environment
// names none.
var builds map[string]func() error

func build(p Program, target image.Target, path string) error {
	cmd := exec.Command(gocat, p.BuildArgs(target.String(), path)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("gocat build %s: %w\n%s", p.Package, err, out)
	}
	return nil
}

var targets = []image.Target{image.SPT, image.HVT}

// quick are the programs whose images quick tests build.
var quick = []string{"hello", "simple", "advanced"}

// file is the path of a program's image, which is built if it has to be.
func file(t testing.TB, program string, target image.Target) string {
	t.Helper()
	path := filepath.Join(images, program+"."+target.String())
	if build, ok := builds[path]; ok {
		if !slices.Contains(quick, program) {
			testhost.Slow(t)
		}
		if err := build(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// big says that there is time for the sizes of the project's goals.
func big() bool { return os.Getenv("GOCAT_BIG") != "" }

// under runs a test under gocat and under Solo5's own tender for each target.
func under(t *testing.T, test func(t *testing.T, r runner)) {
	for _, target := range targets {
		t.Run("gocat "+target.String(), func(t *testing.T) {
			needKVM(t, target)
			test(t, runner{t, target, gocat, []string{"run", "--backend=" + target.String()}, false})
		})
		t.Run("solo5-"+target.String(), func(t *testing.T) {
			needKVM(t, target)
			tender := filepath.Join(testhost.Solo5(t), "tenders", target.String(), "solo5-"+target.String())
			test(t, runner{t, target, tender, nil, true})
		})
	}
}

func needKVM(t *testing.T, target image.Target) {
	t.Helper()
	if target != image.HVT {
		return
	}
	if err := kvmhvt.Available(); err != nil {
		testhost.Skip(t, err.Error())
	}
}

// runner is a tender.
type runner struct {
	t      testing.TB
	target image.Target
	path   string
	first  []string // arguments before all others
	solo5  bool     // Solo5's own
}

// command runs a program with options of the tender and arguments of its own.
func (r runner) command(program string, options []string, args ...string) *testhost.Command {
	all := append([]string{}, r.first...)
	all = append(all, options...)
	return &testhost.Command{Path: r.path, Args: append(append(all, file(r.t, program, r.target)), args...),
		Env: []string{"PATH=" + os.Getenv("PATH")}}
}

// check compares how a guest ended. Where Solo5's tender for hvt ends because of
// KVM, t is skipped: its guests have privilege level 0, where some have no SSE.
func (r runner) check(t *testing.T, got, want testhost.Result) {
	t.Helper()
	if r.solo5 && r.target == image.HVT && strings.Contains(got.Stderr, "KVM: internal error exit") {
		testhost.Skip(t, "this host's KVM cannot run Go at privilege level 0: "+strings.TrimSpace(got.Stderr))
	}
	if r.solo5 && strings.Contains(got.Stderr, "Could not attach interface: @0") {
		testhost.Skip(t, "this Solo5 refuses --net:stdin=@0, v0.9.3 takes it: "+got.Stderr)
	}
	if r.solo5 {
		got.Stderr = "" // tenders say this and that
	}
	if got != want {
		got.Stdout = fmt.Sprintf("%d bytes: %.9000q", len(got.Stdout), got.Stdout)
		want.Stdout = fmt.Sprintf("%d bytes: %.2000q", len(want.Stdout), want.Stdout)
		t.Fatalf("%s %s:\n got %+v\nwant %+v", r.path, r.target, got, want)
	}
}
