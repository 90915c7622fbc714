package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestUnread has a guest without a device for standard input find input there, which
// is told once, and what is no input, which is not. The guest must run either way.
func TestUnread(t *testing.T) {
	const warning = "gocat: warning: standard input is not read: the unikernel declares no network device 'stdin'\n"
	pipe := func(content string, close bool) func(testing.TB) *os.File {
		return func(t testing.TB) *os.File {
			r, w := testhost.Pipe(t)
			w.WriteString(content)
			if close {
				w.Close()
			}
			return r
		}
	}
	file := func(content string, offset int64) func(testing.TB) *os.File {
		return func(t testing.TB) *os.File {
			f := testhost.Memfd(t)
			f.WriteString(content)
			f.Seek(offset, 0)
			return f
		}
	}
	tests := []struct {
		name  string
		stdin func(testing.TB) *os.File
		want  string
	}{
		{"pipe", pipe("input", false), warning},
		{"pipe that ends", pipe("input", true), warning},
		{"pipe that nobody writes", pipe("", false), ""},
		{"empty pipe that ends", pipe("", true), ""},
		{"file", file("input", 0), warning},
		{"rest of a file", file("input", 4), warning},
		{"file at its end", file("input", 5), ""},
		{"file behind its end", file("input", 9), ""},
		{"null", testhost.Null, ""},
		{"directory", func(t testing.TB) *os.File {
			d, err := os.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Close() })
			return d
		}, ""},
		{"socket", func(t testing.TB) *os.File {
			s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			f, peer := testhost.File(t, s[0]), testhost.File(t, s[1])
			peer.WriteString("input")
			return f
		}, warning},
		{"terminal", func(t testing.TB) *os.File {
			master, slave := testhost.RawPTY(t)
			master.WriteString("typed")
			return slave
		}, ""},
	}
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			img, sealed := goImage(t, target, "../../examples/hello"), filepath.Join(t.TempDir(), "sealed")
			if r := command("seal", "-o", sealed, img).Run(t); r.Status != 0 {
				t.Fatalf("gocat seal: %+v", r)
			}
			for _, tt := range tests {
				for name, c := range map[string]*testhost.Command{
					"run":    command("run", "--backend="+target.String(), img),
					"sealed": {Path: sealed, Env: []string{"PATH=" + os.Getenv("PATH")}},
				} {
					stdout, stderr := testhost.Memfd(t), testhost.Memfd(t)
					c.Files = []*os.File{tt.stdin(t), stdout, stderr}
					status := testhost.Status(c.Start(t).Wait())
					if got := testhost.Contents(t, stderr); status != 0 || got != tt.want {
						t.Errorf("%s, %s: status %d, %q, want %q", tt.name, name, status, got, tt.want)
					}
					if got := testhost.Contents(t, stdout); !strings.HasPrefix(got, "Hello") {
						t.Errorf("%s, %s: printed %q", tt.name, name, got)
					}
				}
			}
		})
	}
}

// TestUnreadNot has input where the guest, or what the user says, leaves no doubt: a
// device reads it, the device for it is attached elsewhere, or the tender has Solo5's
// name. With a standard error that nobody reads a guest runs too.
func TestUnreadNot(t *testing.T) {
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			cat := filepath.Join(t.TempDir(), "cat")
			if r := command("guest", "--backend="+target.String(), "-o", cat).Run(t); r.Status != 0 {
				t.Fatalf("gocat guest: %+v", r)
			}
			hello := goImage(t, target, "../../examples/hello")
			tender := filepath.Join(t.TempDir(), "solo5-"+target.String())
			if err := os.Symlink(gocat, tender); err != nil {
				t.Fatal(err)
			}
			for name, c := range map[string]*testhost.Command{
				"read":      command("run", "--net", "stdin=@0", cat, "--solo5:quiet"),
				"elsewhere": command("run", "--net", "stdin=@3", cat, "--solo5:quiet"),
				"solo5":     {Path: tender, Args: []string{hello}, Env: []string{"PATH=" + os.Getenv("PATH")}},
				"deaf":      command("run", hello),
			} {
				in, w := testhost.Pipe(t)
				w.WriteString("input")
				w.Close()
				stdout, stderr := testhost.Memfd(t), testhost.Memfd(t)
				c.Files = []*os.File{in, stdout, stderr, testhost.Null(t)}
				if name == "deaf" {
					r, closed := testhost.Pipe(t)
					r.Close()
					c.Files[2] = closed
				}
				status := testhost.Status(c.Start(t).Wait())
				if got := testhost.Contents(t, stderr); status != 0 || strings.Contains(got, "warning") {
					t.Errorf("%s: status %d, %q", name, status, got)
				}
			}
		})
	}
}
