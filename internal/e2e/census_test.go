package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// A module of testdata/census.txt, by the package of it whose tests are run.
type censusModule struct {
	reviewed
	module, version, dir string // dir of the package below the module
}

// censusModules reads what testdata/census.txt says of a backend.
func censusModules(t *testing.T, target image.Target) (all []censusModule) {
	t.Helper()
	for _, r := range readReviewed(t, "testdata/census.txt", target) {
		module, version, found := strings.Cut(r.words[0], "@")
		if !found || len(r.words) > 2 {
			t.Fatalf("testdata/census.txt: %q", r.words)
		}
		all = append(all, censusModule{r, module, version, append(r.words, ".")[1]})
	}
	return all
}

// TestCensus runs the tests of well-known modules natively and as unikernels, with
// their files, and compares which pass. GOCAT_CENSUS is a regular expression of
// what are run, such as "uuid/. hvt"; without it a few are.
func TestCensus(t *testing.T) {
	testhost.Slow(t)
	only := os.Getenv("GOCAT_CENSUS")
	for _, target := range backends {
		passed, of := 0, 0
		for _, m := range censusModules(t, target) {
			name := m.module + "/" + m.dir + " " + target.String()
			if only == "" && !m.quick || !regexp.MustCompile(only).MatchString(name) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				needKVM(t, target.String())
				a, b := m.run(t, target)
				passed, of = passed+a, of+b
			})
		}
		if of > 0 {
			t.Logf("%v: of %d tests that pass natively %d pass: %.1f %%", target, of, passed, 100*float64(passed)/float64(of))
			if only == "." && passed*100 < of*98 {
				t.Errorf("%v: fewer than 98 %%", target)
			}
		}
	}
}

// run returns how many of the tests that pass natively pass, and how many those
// are.
func (m *censusModule) run(t *testing.T, target image.Target) (passed, of int) {
	t.Helper()
	dir := m.source(t)
	tmp := t.TempDir()
	program := filepath.Join(tmp, "native")
	flags := []string{"-test.v", "-test.short", "-test.timeout=5m"}
	env := append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	goTool(t, dir, env, "test", "-c", "-vet=off", "-o", program, ".")
	natively := with("PASS", verdicts(output(t, dir, program, append(slices.Clip(flags), leaveOut(m.never...)...))))
	if len(natively) == 0 {
		t.Fatalf("no test passes natively")
	}
	img := filepath.Join(tmp, "image")
	build := exec.Command(gocat, "build", "--test", "--target", target.String(), "-o", img, ".")
	build.Dir, build.Env = dir, env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("gocat build: %v\n%s", err, out)
	}
	args := append([]string{"run", "--backend=" + target.String(), "--mem=2048", img}, flags...)
	text := output(t, dir, gocat, append(args, leaveOut(append(m.skips, m.never...)...)...))
	got := verdicts(text)
	var differ []string
	for _, name := range natively {
		_, expected := m.fails[name]
		switch {
		case got[name] == "PASS" && expected:
			t.Errorf("%s passes, though testdata/census.txt says: %s", name, m.fails[name])
		case got[name] == "PASS":
			passed++
		case !expected && !skipped(m.skips, name):
			differ = append(differ, name)
		}
	}
	if differ != nil {
		t.Errorf("pass natively, but not as a unikernel: %s\n%s", strings.Join(differ, " "), text[max(0, len(text)-3000):])
		for _, name := range differ[:min(len(differ), 8)] {
			t.Log(from(text, name, 700))
		}
	}
	t.Logf("%d of %d", passed, len(natively))
	return passed, len(natively)
}

// output runs a program of tests, which may fail, and returns what it prints.
func output(t *testing.T, dir, path string, args []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("%s: still not at its end", filepath.Base(path))
	}
	return fmt.Sprintf("%s\n%v\n", b.String(), err)
}

// source returns a copy of the package's sources in its module, which may be
// written to.
func (m *censusModule) source(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", m.module+"@"+m.version).Output()
	var info struct{ Dir, Error string }
	if json.Unmarshal(out, &info); err != nil || info.Dir == "" {
		testhost.Skip(t, fmt.Sprintf("%s cannot be had: %v %s", m.module, err, info.Error))
	}
	to := filepath.Join(t.TempDir(), filepath.Base(m.module))
	if err := os.CopyFS(to, os.DirFS(info.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("chmod", "-R", "u+w", to).Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "go.mod")); err != nil { // older than modules
		goTool(t, to, os.Environ(), "mod", "init", m.module)
	}
	return filepath.Join(to, m.dir)
}

func goTool(t *testing.T, dir string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", args[0], err, out)
	}
}
