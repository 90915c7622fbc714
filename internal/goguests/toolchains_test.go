package goguests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gocat/internal/testhost"
)

// toolchains are of the releases that gocat build knows, beside the one that
// builds gocat: the go command downloads them.
var toolchains = []string{"go1.25.14", "go1.27.3"}

// TestToolchains has other releases of Go than the one that has built gocat build
// programs, in a module that asks for no later one than the oldest.
func TestToolchains(t *testing.T) {
	testhost.Slow(t)
	if os.Getenv("GOCAT_IMAGES") != "" {
		t.Log("the images are given, and there may be no Go here")
		return
	}
	module := t.TempDir()
	mod := "module example\n\ngo 1.25\n"
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte(mod), 0o644); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{"hello": "../../examples/hello", "stress": "../../examples/stress", "files": "files", "serve": "serve"}
	for name, dir := range names {
		if err := os.CopyFS(filepath.Join(module, name), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	runs := 2
	if big() {
		runs = 30
	}
	for _, version := range toolchains {
		t.Run(version, func(t *testing.T) {
			t.Setenv("GOTOOLCHAIN", version)
			get := exec.Command("go", "version")
			get.Dir = module
			if out, err := get.CombinedOutput(); err != nil {
				testhost.Skip(t, fmt.Sprintf("%s cannot be had: %v: %s", version, err, out))
			}
			for name := range names {
				for _, target := range targets {
					build := exec.Command(gocat, "build", "--target", target.String(), "--loopback", "--files=.:/srv",
						"-o", file(t, version+name, target), filepath.Join(module, name))
					if out, err := build.CombinedOutput(); err != nil {
						t.Fatalf("gocat build %s: %v\n%s", name, err, out)
					}
				}
			}
			under(t, func(t *testing.T, r runner) {
				got := r.command(version+"hello", []string{"--mem=64"}, "you").Run(t)
				r.check(t, got, testhost.Result{Stdout: "Hello from you\n"})
				r.check(t, r.command(version+"files", []string{"--mem=64"}).Run(t), testhost.Result{Stdout: "files: done\n"})
				got = r.command(version+"serve", []string{"--mem=128"}, "self").Run(t)
				r.check(t, got, testhost.Result{Stdout: "serve: ready\nserve: ended: 100 answers, <nil>\n"})
				for range runs {
					for mem, args := range map[string][]string{"--mem=64": nil, "--mem=512": {"200"}} {
						got := r.command(version+"stress", []string{mem}, args...).Run(t)
						r.check(t, got, testhost.Result{Stdout: "stress: passed\n"})
					}
				}
			})
		})
	}
}
