package e2e

import (
	"strings"
	"testing"

	"gocat/internal/testhost"
)

// TestRecover has a Go program recover from nil dereferences and other faults, and
// die of one as Go programs do.
func TestRecover(t *testing.T) {
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			img := goImage(t, target, "./testdata/recover")
			check(t, "recover", command("run", "--mem=64", img).Run(t), testhost.Result{Stdout: "recovered\n"})

			r := command("run", "--mem=64", img, "die").Run(t)
			for _, want := range []string{"panic: runtime error: invalid memory address or nil pointer dereference\n",
				"[signal SIGSEGV: segmentation violation code=0x1 addr=0x8 ", "goroutine 1 [running", "main.main()\n"} {
				if r.Status != 2 || !strings.Contains(r.Stdout, want) {
					t.Errorf("status %d, printed %q, want status 2 and %q", r.Status, r.Stdout, want)
				}
			}
			if strings.Contains(r.Stderr, "fault") {
				t.Errorf("gocat told of a fault that was the program's to handle: %q", r.Stderr)
			}
		})
	}
}
