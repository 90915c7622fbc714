package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// TestBuildOptions builds a small program as people tell go build to.
func TestBuildOptions(t *testing.T) {
	testhost.Slow(t)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example\n\ngo 1.25\n")
	write("main.go", "package main\n\nvar version, special = \"none\", \"\"\n\nfunc main() { println(version + special) }\n")
	write("special.go", "//go:build special\n\npackage main\n\nfunc init() { special = \" special\" }\n")
	write("a/a_test.go", "package a\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) {}\n")
	write("b/b_test.go", "package b\n\nimport \"testing\"\n\nfunc TestB(t *testing.T) {}\n")
	build := func(env string, args ...string) (string, error) {
		cmd := exec.Command(gocat, append([]string{"build"}, args...)...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	image := filepath.Join(dir, "x.spt")
	for _, tt := range []struct {
		env  string
		args []string
		want string
	}{
		{"", nil, "none"},
		{"", []string{"-ldflags=-s -X main.version=1.2", "-tags=special"}, "1.2 special"},
		{"GOFLAGS=-tags=special", []string{"-ldflags", "-X 'main.version=a b'"}, "a b special"},
		{"GOFLAGS='-ldflags=-X main.version=3'", []string{"-mod=mod", "-trimpath=false", "-gcflags=-B"}, "3"},
		{"", []string{"main.go"}, "none"},
	} {
		if out, err := build(tt.env, append([]string{"-o", image}, tt.args...)...); err != nil {
			t.Errorf("%s %q: %v\n%s", tt.env, tt.args, err, out)
			continue
		}
		if r := command("run", image).Run(t); r.Status != 0 || r.Stdout+r.Stderr != tt.want+"\n" {
			t.Errorf("%s %q: %+v, want %q", tt.env, tt.args, r, tt.want)
		}
	}
	elf := filepath.Join(dir, "elf")
	// -v names only what is not built already.
	if out, err := build("", "-C", "..", "-o", image, "--keep-elf", elf, "-v", dir); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if info, err := os.Stat(elf); err != nil || info.Size() < 1<<20 {
		t.Errorf("the linked program: %v, %v", info, err)
	}
	if out, err := build("", "--test", "-o", dir, "./a", "./b"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, name := range []string{"a.spt", "b.spt"} {
		if r := command("run", filepath.Join(dir, name)).Run(t); r.Stdout != "PASS\n" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, tt := range []struct {
		env  string
		args []string
		want string
	}{
		{"GOFLAGS=-race", nil, "GOFLAGS has -race"},
		{"GOEXPERIMENT=nosuch", nil, "unknown GOEXPERIMENT"},
		{"", []string{"-ldflags=-linkmode=external"}, "-linkmode=external cannot be used"},
		{"", []string{"./a", "./b"}, "one after the other"},
		{"", []string{"--files", "missing"}, "--files: "},
		{"", []string{"--ca-certs", "missing"}, "--ca-certs: "},
	} {
		if out, err := build(tt.env, append([]string{"-o", image}, tt.args...)...); err == nil || !strings.Contains(out, tt.want) {
			t.Errorf("%s %q: %v, %s", tt.env, tt.args, err, out)
		}
	}
}
