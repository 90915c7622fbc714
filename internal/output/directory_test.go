package output

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// put is a writer of a directory with one file.
func put(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o666) }

func TestDirectory(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	for _, c := range []struct {
		name  string
		there func(path string) error
		want  string // the error has it; "" is success
	}{
		{"new", func(string) error { return nil }, ""},
		{"empty", func(path string) error { return os.Mkdir(path, 0o755) }, ""},
		{"full", func(path string) error { return errors.Join(os.Mkdir(path, 0o755), put(path)) }, "not empty"},
		{"a file", func(path string) error { return os.WriteFile(path, []byte("x"), 0o644) }, "no directory"},
		{"a link", func(path string) error { return os.Symlink(filepath.Dir(path), path) }, "no directory"},
	} {
		parent := t.TempDir()
		path := filepath.Join(parent, "out")
		if err := c.there(path); err != nil {
			t.Fatal(err)
		}
		err := Directory(path+"/", nil, put)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, expected %q", c.name, err, c.want)
			}
		} else if info, statErr := os.Stat(path); err != nil || statErr != nil || info.Mode().Perm() != 0o750 {
			t.Errorf("%s: %v, %v, %v", c.name, err, statErr, info)
		} else if b, err := os.ReadFile(filepath.Join(path, "f")); string(b) != "x" {
			t.Errorf("%s: %q, %v", c.name, b, err)
		}
		leftOver(t, parent)
	}
}

// What fails or is interrupted leaves nothing.
func TestDirectoryNotMade(t *testing.T) {
	parent := t.TempDir()
	path := filepath.Join(parent, "out")
	fault := errors.New("fault")
	if err := Directory(path, nil, func(dir string) error { put(dir); return fault }); err != fault {
		t.Error(err)
	}
	signals, stay := make(chan os.Signal, 1), make(chan bool)
	defer close(stay)
	signals <- syscall.SIGTERM
	err := Directory(path, signals, func(string) error { <-stay; return nil })
	if i, ok := errors.AsType[*Interrupted](err); !ok || i.Signal != syscall.SIGTERM {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error(err)
	}
	leftOver(t, parent)
	if err := Directory(parent+"/missing/out", nil, put); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Error(err)
	}
}
