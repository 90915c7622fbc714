package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestGDBSolo5 runs Solo5's test programs without devices under a debugger that
// only lets them go on, and where their core would be dumped: they end and print as
// on their own, whatever that is.
func TestGDBSolo5(t *testing.T) {
	testhost.Slow(t)
	tests := filepath.Join(testhost.Solo5(t), "tests")
	for _, kind := range debugged {
		t.Run(kind.name, func(t *testing.T) {
			needKVM(t, kind.target.String())
			images, err := filepath.Glob(filepath.Join(tests, "*", "test_*."+kind.target.String()))
			if err != nil {
				t.Fatal(err)
			}
			ran, ends := 0, map[int]bool{}
			for _, path := range images {
				if !withoutDevices(t, path) {
					continue
				}
				arg := "Hello_Solo5"
				want := command(append(append([]string{"run", "--mem=16"}, kind.args...), path, arg)...).Run(t)
				ran, ends[want.Status] = ran+1, true

				s := startDebugged(t, path, kind.args, arg)
				letGo(t, s)
				got := testhost.Status(s.guest.Wait())
				if out := testhost.Contents(t, s.stdout); got != want.Status || steady(out) != steady(want.Stdout) {
					t.Errorf("%s: status %d, output %q; want %d and %q; said %q", path, got, out, want.Status, want.Stdout, testhost.Contents(t, s.stderr))
				}

				options := append([]string{"run", "--mem=16", "--dumpcore=" + t.TempDir()}, kind.args...)
				if got := command(append(options, path, arg)...).Run(t); got.Status != want.Status || steady(got.Stdout) != steady(want.Stdout) {
					t.Errorf("%s with --dumpcore: %+v, want %+v", path, got, want)
				}
			}
			if ran < 10 || len(ends) < 2 {
				t.Errorf("%d of %d images ran, with the statuses %v", ran, len(images), ends)
			}
		})
	}
}

// withoutDevices reports whether an image declares no device, and ends by itself.
func withoutDevices(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := image.Parse(f)
	return err == nil && len(m.Manifest) <= 1
}

// letGo has a guest run to its end, and every signal reach it.
func letGo(t *testing.T, s *session) {
	t.Helper()
	d := dial(t, s.socket)
	for next := "c"; ; {
		d.ask(t, next)
		a := d.answer(t)
		switch {
		case strings.HasPrefix(a, "W") || strings.HasPrefix(a, "X"):
			return
		case strings.HasPrefix(a, "T") && len(a) > 2:
			next = "C" + a[1:3]
		default:
			t.Fatalf("%s: %q is answered %q", s.image, next, a)
		}
	}
}

// steady is output without the lines that have a time or an address in them.
func steady(out string) string {
	var kept []string
	for line := range strings.Lines(out) {
		if !strings.ContainsAny(line, "0123456789") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}
