package testhost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// programs are what make build builds. gocat finds the others beside itself.
var programs = []string{"gocat", "gocat-net", "gocat-runtime"}

// Gocat returns the path of a gocat, with its other programs beside it, which are gone
// after the test. An hvt guest takes the program's own entry point, which a test's
// binary does not have.
func Gocat(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := Programs(dir); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, programs[0])
}

// Programs puts gocat and its other programs into a directory: copies of the one that
// the environment names as GOCAT and of those beside it, or else it builds them, as make
// build does. make test builds them once for all packages. Each package has its own
// copies, so that it can tell whose processes are its own.
func Programs(dir string) error {
	if gocat := os.Getenv("GOCAT"); gocat != "" {
		return copyPrograms(dir, filepath.Dir(gocat))
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags=gocat/cmd/...=-s -w", "-ldflags=gocat/cmd/gocat=-s -w -E main.entry", "-o", dir, "gocat/cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

func copyPrograms(dir, from string) error {
	for _, name := range programs {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) && name != programs[0] {
			continue // a test that needs it fails
		}
		if err == nil {
			err = Executable(filepath.Join(dir, name), b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Executable writes a program. A process that is forked while it is written would
// inherit the descriptor, and the program could not be started.
func Executable(path string, contents []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, contents, 0o755)
}

// Main is the TestMain of a package that tests the programs: they are in a directory
// that anybody may enter. prepare, if there is one, then adds what else the tests need.
func Main(m *testing.M, prepare func(dir string) error) {
	os.Exit(runWith(m, prepare))
}

func runWith(m *testing.M, prepare func(dir string) error) int {
	dir, err := os.MkdirTemp("", "gocat")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = Programs(dir)
	}
	if err == nil && prepare != nil {
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
