package goguests

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gocat/internal/testhost"
)

// sockets is what Linux makes of the program sockets.
//
//go:embed testdata/sockets.txt
var sockets string

// TestSockets has a program use sockets in all ways, and compares what it prints
// with what it prints on Linux.
func TestSockets(t *testing.T) {
	under(t, func(t *testing.T, r runner) {
		r.check(t, r.command("sockets", []string{"--mem=256"}).Run(t), testhost.Result{Stdout: sockets})
	})
}

// TestSocketsOnLinux has this host's kernel say what the other test compares
// with. GOCAT_UPDATE writes it down.
func TestSocketsOnLinux(t *testing.T) {
	testhost.NeedRoot(t, "to make a network namespace, which has nothing but a loopback")
	if os.Getenv("GOCAT_IMAGES") != "" {
		t.Log("the images are given, and there may be no Go here")
		return
	}
	file := filepath.Join(t.TempDir(), "sockets")
	build := exec.Command("go", "build", "-o", file, "gocat/internal/goguests/sockets")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	testhost.Netns(t)
	testhost.Up(t, "lo", 65536)
	c := testhost.Command{Path: file}
	got := c.Run(t)
	if os.Getenv("GOCAT_UPDATE") != "" && got.Status == 0 {
		if err := os.WriteFile("testdata/sockets.txt", []byte(got.Stdout), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := (testhost.Result{Stdout: sockets}); got != want {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
}
