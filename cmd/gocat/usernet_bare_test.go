package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// bareRoot makes a root directory that only this goroutine sees, with two programs of
// gocat's, a guest, /proc and one device: nothing to make a tap with.
func bareRoot(t *testing.T, image string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	testhost.Tmpfs(t, dir)
	for name, from := range map[string]string{
		"gocat": program, "gocat-net": filepath.Join(filepath.Dir(program), "gocat-net"), "web.spt": image,
	} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"proc", "dev", "old"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("proc", filepath.Join(dir, "proc"), "proc", 0, ""); err != nil {
		testhost.Skip(t, "cannot mount proc: "+err.Error())
	}
	null := filepath.Join(dir, "dev/null")
	if err := unix.Mknod(null, unix.S_IFCHR, int(unix.Mkdev(1, 3))); err != nil {
		testhost.Skip(t, "cannot make device files: "+err.Error())
	}
	if err := os.Chmod(null, 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The README's web server runs as an ordinary user where there is no /dev/net/tun: in
// a root directory of its own, as a container has, and after chroot, where a kernel
// gives out no user namespace. ^C ends guest and network.
func TestUserNetworkBare(t *testing.T) {
	testhost.NeedRoot(t, "to make a root directory and to be another user in it")
	image := filepath.Join(t.TempDir(), "web.spt")
	gocat(t, "build", "--ca-certs=none", "-o", image, "../../examples/web").wantSuccess(t)
	for name, enter := range map[string]func(t *testing.T, dir string, cmd *exec.Cmd){
		"container": func(t *testing.T, dir string, _ *exec.Cmd) {
			if err := unix.PivotRoot(dir, filepath.Join(dir, "old")); err != nil {
				t.Fatal("pivot_root: ", err)
			}
			if err := unix.Chdir("/"); err != nil {
				t.Fatal(err)
			}
			if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		},
		"chroot": func(_ *testing.T, dir string, cmd *exec.Cmd) { cmd.SysProcAttr.Chroot = dir },
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			cmd := &exec.Cmd{Path: "/gocat", Dir: "/", Env: []string{},
				Args: []string{"gocat", "run", "-v", "--net", "service=user", "--publish", fmt.Sprintf("%d:80", port), "web.spt"}}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			const user = 12345
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Credential: &syscall.Credential{Uid: user, Gid: user}}
			enter(t, bareRoot(t, image), cmd)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			at := fmt.Sprint("127.0.0.1:", port)
			until(t, "the published port is open", func() bool {
				c, err := net.Dial("tcp", at)
				if err == nil {
					c.Close()
				}
				return err == nil
			})
			r, err := http.Get("http://" + at + "/")
			if err != nil {
				t.Fatalf("%v, %s", err, &stderr)
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || string(body) != "Hello from a Go program without an operating system\n" {
				t.Errorf("%q, %v", body, err)
			}
			cmd.Process.Signal(unix.SIGINT)
			cmd.Wait()
			if name == "chroot" && !strings.Contains(stderr.String(), "gocat-net: user-ns: off: ") {
				t.Errorf("said: %s", &stderr)
			}
			until(t, "the port is free", func() bool {
				l, err := net.Listen("tcp", at)
				if err == nil {
					l.Close()
				}
				return err == nil
			})
		})
	}
}
