package gocat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocat"
	"gocat/internal/testhost"
	"gocat/kvmhvt"
)

// The tests run the program as it is installed, from PATH. cat is an image of its
// cat.
var cat string

func TestMain(m *testing.M) {
	testhost.Main(m, func(dir string) error {
		os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		cat = filepath.Join(dir, "cat.spt")
		if out, err := exec.Command("gocat", "guest", "-o", cat).CombinedOutput(); err != nil {
			return fmt.Errorf("gocat guest: %w: %s", err, out)
		}
		return nil
	})
}

func ExampleCommand() {
	guest := gocat.Command("") // gocat's own cat
	guest.Stdin = strings.NewReader("hello from a unikernel\n")
	out, err := guest.Output()
	fmt.Printf("%s%v\n", out, err)
	// Output:
	// hello from a unikernel
	// <nil>
}

// A network device of a guest may be any descriptor, here a pipe.
func ExampleGuest_Start() {
	r, w, err := os.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	guest := gocat.Command(cat, "--solo5:quiet", "-l", "netif:quiet")
	guest.Memory = 16 << 20
	guest.Nets = []gocat.Net{{Name: "stdin", File: r}}
	guest.Stdout = os.Stdout
	if err := guest.Start(); err != nil {
		log.Fatal(err)
	}
	r.Close() // the guest has it
	fmt.Fprintln(w, "one line")
	w.Close()
	fmt.Println(guest.Wait())
	// Output:
	// one line
	// <nil>
}

// What goes wrong has a status and, if gocat said one, a reason.
func ExampleExitError() {
	guest := gocat.Command(cat)
	err := guest.Run()
	var exit *gocat.ExitError
	if errors.As(err, &exit) {
		fmt.Println(exit.Status == gocat.NotStarted)
		fmt.Println(exit.Reason)
	}
	// Output:
	// true
	// declared but not attached: net 'stdin': give --net stdin=IFACE|@FD|user
}

func TestBackends(t *testing.T) {
	for _, backend := range []string{"spt", "hvt"} {
		t.Run(backend, func(t *testing.T) {
			if err := kvmhvt.Available(); err != nil && backend == "hvt" {
				testhost.Skip(t, err.Error())
			}
			guest := gocat.Command("")
			guest.Backend, guest.Memory = backend, 64<<20
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
			guest.Stdin = bytes.NewReader(data)
			if out, err := guest.Output(); err != nil || !bytes.Equal(out, data) {
				t.Errorf("%d bytes of %d came out: %v", len(out), len(data), err)
			}
		})
	}
}

// The end of a guest as its status and its reason tell it.
func TestEnds(t *testing.T) {
	usage := gocat.Command(cat, "--nonsense")
	usage.Nets = []gocat.Net{{Name: "stdin"}}
	var exit *gocat.ExitError
	if err := usage.Run(); !errors.As(err, &exit) || exit.Status != 64 || exit.Reason != "" || err.Error() != "the guest exited with status 64" {
		t.Errorf("a guest's own status: %v", err)
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var said bytes.Buffer
	waiting := gocat.CommandContext(ctx, "")
	waiting.Stdin, waiting.Stderr, waiting.Options = r, &said, []string{"-v"}
	if waiting.Process() != nil {
		t.Error("a process before Start")
	}
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	if waiting.Process() == nil || waiting.Start() == nil {
		t.Error("no process after Start, or a second Start")
	}
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := waiting.Wait(); !errors.As(err, &exit) || exit.Status != 137 || exit.Reason != "killed by a signal: killed" {
		t.Errorf("a guest that its context ended: %v", err)
	}
	if waiting.Wait() == nil {
		t.Error("a second Wait")
	}
}

func TestMistakes(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for want, guest := range map[string]*gocat.Guest{
		"no whole number of MiB":                {Memory: 1<<20 + 1},
		"has both a File and an Interface":      {Path: cat, Nets: []gocat.Net{{Name: "stdin", File: f, Interface: "tap0"}}},
		"its own cat takes no arguments":        {Args: []string{"x"}},
		"executable file not found":             {Program: "gocat-that-is-not-there"},
		"could not open":                        {Path: "/nonexistent"},
		`"xen": want spt or hvt`:                {Backend: "xen"},
		"no such block device":                  {Path: cat, Nets: []gocat.Net{{Name: "stdin"}}, Blocks: []gocat.Block{{Name: "x", Path: cat, SectorSize: 512}}},
		"no interface":                          {Path: cat, Nets: []gocat.Net{{Name: "stdin", Interface: "nosuchtap", MAC: "02:00:00:00:00:01", MTU: 9000}}},
		"unknown option --nonsense: see --help": {Options: []string{"--nonsense"}},
	} {
		if err := guest.Run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if (&gocat.Guest{}).Wait() == nil {
		t.Error("Wait before Start")
	}
	if _, err := (&gocat.Guest{Stdout: io.Discard}).Output(); err == nil {
		t.Error("Output with Stdout")
	}
}

// The module's name has no dot, so the go command does not look for it anywhere: a
// program that imports it says where it is, as the README has it.
func TestImport(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module example.com/mine\n\ngo 1.26\n",
		"main.go": `package main

import (
	"os"

	"gocat"
)

func main() {
	guest := gocat.Command("")
	guest.Stdin, guest.Stdout = os.Stdin, os.Stdout
	if err := guest.Run(); err != nil {
		panic(err)
	}
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"mod", "edit", "-require=gocat@v0.0.0", "-replace=gocat=" + here}, {"run", "-mod=mod", "."},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader("through a library\n")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || args[0] == "run" && string(out) != "through a library\n" {
			t.Fatalf("go %v: %v, %q\n%s", args, err, out, stderr.String())
		}
	}
}
