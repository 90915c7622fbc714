package goguests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// gocat is the program under test, images the directory of the images.
var gocat, images string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "goguests")
	if err != nil {
		panic(err)
	}
	status := 1
	if err := prepare(dir); err == nil {
		status = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, err)
	}
	os.RemoveAll(dir)
	os.Exit(status)
}

// prepare finds what the environment names, and builds the rest into dir.
func prepare(dir string) error {
	gocat, images = os.Getenv("GOCAT"), os.Getenv("GOCAT_IMAGES")
	if gocat == "" {
		gocat = filepath.Join(dir, "gocat")
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -E main.entry", "-o", gocat, "gocat/cmd/gocat") // as make build
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build gocat: %w\n%s", err, out)
		}
	}
	if images != "" {
		return nil
	}
	images = dir
	for _, p := range Programs {
		for _, target := range targets {
			build := exec.Command(gocat, p.BuildArgs(target.String(), file(p.Name, target))...)
			if out, err := build.CombinedOutput(); err != nil {
				return fmt.Errorf("gocat build %s: %w\n%s", p.Package, err, out)
			}
		}
	}
	return nil
}

var targets = []image.Target{image.SPT, image.HVT}

// file is the path of a program's image.
func file(program string, target image.Target) string {
	return filepath.Join(images, program+"."+target.String())
}

// big says that there is time for the sizes of the project's goals.
func big() bool { return os.Getenv("GOCAT_BIG") != "" }

// under runs a test under gocat and under Solo5's own tender for each target.
func under(t *testing.T, test func(t *testing.T, r runner)) {
	for _, target := range targets {
		t.Run("gocat "+target.String(), func(t *testing.T) {
			needKVM(t, target)
			test(t, runner{target, gocat, []string{"run", "--backend=" + target.String()}, false})
		})
		t.Run("solo5-"+target.String(), func(t *testing.T) {
			needKVM(t, target)
			tender := filepath.Join(testhost.Solo5(t), "tenders", target.String(), "solo5-"+target.String())
			test(t, runner{target, tender, nil, true})
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
	target image.Target
	path   string
	first  []string // arguments before all others
	solo5  bool     // Solo5's own
}

// command runs a program with options of the tender and arguments of its own.
func (r runner) command(program string, options []string, args ...string) *testhost.Command {
	all := append([]string{}, r.first...)
	all = append(all, options...)
	return &testhost.Command{Path: r.path, Args: append(append(all, file(program, r.target)), args...),
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
		got.Stdout = fmt.Sprintf("%d bytes: %.2000q", len(got.Stdout), got.Stdout)
		want.Stdout = fmt.Sprintf("%d bytes: %.2000q", len(want.Stdout), want.Stdout)
		t.Fatalf("%s %s:\n got %+v\nwant %+v", r.path, r.target, got, want)
	}
}
