package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gocat/internal/image"
)

// goImage has gocat build make an image of a Go package, which is named from this
// directory, and returns its path.
func goImage(t *testing.T, target image.Target, pkg string, options ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), filepath.Base(pkg)+"."+target.String())
	args := append([]string{"build", "--target", target.String(), "-o", out}, options...)
	cmd := exec.Command(gocat, append(args, pkg)...)
	cmd.Env = os.Environ()
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gocat build %s: %v\n%s", pkg, err, b)
	}
	return out
}

// backends are those of the tests that run images for both.
var backends = []image.Target{image.SPT, image.HVT}
