package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// goModule writes a module with a package main in a directory of t's own and
// returns the directory.
func goModule(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"go.mod": "module example\n\ngo 1.25\n", "main.go": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What cannot be built is said in one line, and no image is left.
func TestBadBuilds(t *testing.T) {
	t.Parallel()
	const good = "package main\n\nfunc main() {}\n"
	dir := t.TempDir()
	long := strings.Repeat("x", 68)
	var many []string
	for i := range 64 {
		many = append(many, "--net", fmt.Sprint("n", i))
	}
	for name, test := range map[string]struct {
		source string
		args   []string
		want   string
	}{
		"syntax":       {"package main\n\nfunc main() {\n", nil, "main.go:4:1: syntax error"},
		"types":        {"package main\n\nfunc main() { println(1 + \"\") }\n", nil, "main.go:3:"},
		"no import":    {"package main\n\nimport \"example/absent\"\n\nfunc main() { absent.F() }\n", nil, "example/absent"},
		"not main":     {"package other\n", nil, "example is package other, and a unikernel is made of a package main"},
		"no main":      {"package main\n", nil, "function main is undeclared in the main package"},
		"cgo":          {"package main\n\nimport \"C\"\n\nfunc main() {}\n", nil, "example uses cgo (main.go), which a unikernel cannot"},
		"no package":   {good, []string{"./absent"}, "absent"},
		"no Go":        {good, []string{dir}, "go.mod"},
		"two":          {good, []string{".", "."}, "an image is made of one package"},
		"target":       {good, []string{"--target=virtio"}, `--target: "virtio": want spt or hvt`},
		"device":       {good, []string{"--net", "a-b"}, `--net: device name "a-b": want letters and digits`},
		"no name":      {good, []string{"--block="}, `--block: device name "": want letters and digits`},
		"long name":    {good, []string{"--block", long}, "has 68 characters, at most 67"},
		"twice":        {good, []string{"--net", "a", "--block", "a"}, `--block: device "a" is declared twice`},
		"64 devices":   {good, many, `--net: device "n63": a manifest has at most 63 devices`},
		"no manifest":  {good, []string{"--manifest", "absent.json"}, "absent.json: no such file or directory"},
		"bad manifest": {good, []string{"--manifest", "go.mod"}, "go.mod: manifest: invalid character"},
		"no directory": {good, []string{"-o", "absent/out"}, "cannot write absent/out"},
		"a directory":  {good, []string{"-o", "."}, "is a directory: name a file"},
		"full":         {good, []string{"-o", "/dev/full"}, "no space left on device"},
	} {
		t.Run(name, func(t *testing.T) {
			work := goModule(t, test.source)
			call{dir: work, args: append([]string{"build"}, test.args...)}.run(t).wantError(t, "gocat", test.want)
			wantFiles(t, work, "go.mod", "main.go")
		})
	}
}

// Several messages of the go command are all shown, for the last may be the
// remedy, and the platform and the place of the cache are the user's mistakes.
func TestBuildMessages(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source string
		env    []string
		args   []string
		want   string
	}{
		"three": {"package main\n\nfunc main() {\n\tx := 1\n\tf()\n\tg()\n}\n", nil, nil,
			"# example\n./main.go:4:2: declared and not used: x\n./main.go:5:2: undefined: f\n./main.go:6:2: undefined: g\n" +
				"gocat: go build failed: its messages are above\n"},
		"remedy": {"package main\n\nimport _ \"example.org/absent\"\n\nfunc main() {}\n", nil, nil,
			"main.go:3:8: no required module provides package example.org/absent; to add it:\n    go get example.org/absent\n" +
				"gocat: go list failed: its messages are above\n"},
		"no tests": {"package main\n\nfunc main() {}\n", nil, []string{"--test", "."}, "gocat: . has no tests: no file in it ends in _test.go\n"},
		"GOOS":     {"package main\n\nfunc main() {}\n", []string{"GOOS=plan9"}, nil, "gocat: GOOS=plan9: guests are built for linux alone: unset GOOS\n"},
		"GOARCH":   {"package main\n\nfunc main() {}\n", []string{"GOARCH=arm64"}, nil, "gocat: GOARCH=arm64: guests are built for amd64 alone: unset GOARCH\n"},
		"no home": {"package main\n\nfunc main() {}\n", []string{"HOME=", "GOPATH=", "GOMODCACHE=", "GOCACHE="}, nil,
			"gocat: the go command has no place for modules and its cache: set HOME, or GOPATH and GOCACHE\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := call{dir: goModule(t, test.source), env: test.env, args: append([]string{"build"}, test.args...)}.run(t)
			if r.status != 1 || r.stdout != "" || r.stderr != test.want {
				t.Errorf("status %d, stdout %q, stderr\n%s\nwant\n%s", r.status, r.stdout, r.stderr, test.want)
			}
		})
	}
}

// A toolchain that is not known, or not there, is refused by its name. The go
// command here is one that says what it is and nothing else.
func TestBadToolchains(t *testing.T) {
	for name, test := range map[string]struct{ script, want string }{
		"old":     {"printf '/go\\ngo1.24.9\\n/mod\\n'", "toolchain go1.24.9 is not one of those that gocat build knows: go1.25, go1.26, go1.27"},
		"new":     {"printf '/go\\ndevel go1.28-0123456789\\n/mod\\n'", "toolchain devel go1.28-0123456789 is not one"},
		"changed": {"printf '/nonexistent\\ngo1.26.8\\n/mod\\n'", "toolchain go1.26.8: open /nonexistent/src/"},
		"odd":     {"echo", "go env printed"},
		"failing": {"echo go: broken >&2; exit 2", "go env: go: broken"},
		"none":    {"", "needs the Go toolchain, and there is no go command in PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			work, bin := goModule(t, "package main\n\nfunc main() {}\n"), t.TempDir()
			if test.script != "" {
				script := "#!/bin/sh\n[ $1 = list ] && exit\n" + test.script + "\n"
				if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			call{dir: work, args: []string{"build"}, env: []string{"PATH=" + bin}}.run(t).wantError(t, "gocat", test.want)
			wantFiles(t, work, "go.mod", "main.go")
		})
	}
}

// What a unikernel cannot do is a warning, a line, where the program might do
// without.
func TestBuildWarning(t *testing.T) {
	t.Parallel()
	work := goModule(t, "package main\n\nimport \"os/exec\"\n\nfunc main() { exec.Command(\"true\").Run() }\n")
	r := call{dir: work, args: []string{"build", "-o", "out.spt"}}.run(t)
	if want := "gocat: warning: example imports os/exec: a unikernel cannot start programs\n"; r.status != 0 || r.stdout != "" || r.stderr != want {
		t.Errorf("%+v", r)
	}
	wantFiles(t, work, "go.mod", "main.go", "out.spt")
}

// The same source gives the same bytes, wherever it is.
func TestBuildTwice(t *testing.T) {
	testhost.Slow(t)
	t.Parallel()
	source := "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(1) }\n"
	var images [2][]byte
	for i := range images {
		work := goModule(t, source)
		call{dir: work, args: []string{"build", "-o", "out.spt"}}.run(t).wantSuccess(t)
		var err error
		if images[i], err = os.ReadFile(filepath.Join(work, "out.spt")); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("two builds differ")
	}
}

// A signal ends the go command too, and leaves no files.
func TestBuildInterrupted(t *testing.T) {
	work, bin, tmp := goModule(t, "package main\n\nfunc main() {}\n"), t.TempDir(), t.TempDir()
	started, ended := filepath.Join(bin, "started"), filepath.Join(bin, "ended")
	for _, pipe := range []string{started, ended} {
		if err := unix.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The go command, when it is to build, says so and waits for its end.
	script := fmt.Sprintf(`#!/bin/sh
case $1 in
env) PATH=$OLDPATH go env GOROOT GOVERSION; echo /nonexistent; exit ;;
list) exit ;;
esac
trap 'echo interrupted > %s; exit 1' INT
echo $PPID > %s
while :; do sleep 0.01; done
`, ended, started)
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	path := os.Getenv("PATH")
	done := make(chan result)
	go func() {
		done <- call{dir: work, args: []string{"build"},
			env: []string{"PATH=" + bin + ":" + path, "OLDPATH=" + path, "TMPDIR=" + tmp, "GOTOOLCHAIN=local"}}.run(t)
	}()
	parent := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(started)
		parent <- b
	}()
	var b []byte
	select {
	case b = <-parent:
	case r := <-done:
		t.Fatalf("%+v", r)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(ended); err != nil || string(b) != "interrupted\n" {
		t.Errorf("the go command: %q, %v", b, err)
	}
	if r := <-done; r.status != 128+int(unix.SIGTERM) || r.stdout != "" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	wantFiles(t, work, "go.mod", "main.go")
	wantFiles(t, tmp)
}
