package gobuild

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"gocat/guest/kernel"
)

// kernelPath is the import path that the library kernel has in an image.
const kernelPath = "internal/runtime/gocat"

// added returns the files that the overlay adds, by their paths below
// GOROOT/src: the library kernel and what goes into package runtime.
func added() (map[string][]byte, error) {
	files := make(map[string][]byte)
	err := fs.WalkDir(kernel.Source, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to := ""
		switch base := path.Base(name); {
		case path.Dir(name) == "runtime":
			to = "runtime/" + strings.TrimSuffix(base, ".txt")
		case strings.HasSuffix(base, "_test.go"), base == "source.go", base == "instructions_host.go":
			return nil
		default:
			to = kernelPath + "/" + base
		}
		b, err := kernel.Source.ReadFile(name)
		files[to] = b
		return err
	})
	return files, err
}

// overlay writes the overlay for t into directory dir and returns the path of its
// description.
func (t *toolchain) overlay(dir string) (string, error) {
	files, err := apply(patches(t.release), t.version, t.source)
	if err != nil {
		return "", err
	}
	more, err := added()
	if err != nil {
		return "", err
	}
	for name, b := range more {
		if _, err := os.Stat(filepath.Join(t.goroot, "src", filepath.FromSlash(name))); err == nil {
			return "", fmt.Errorf("toolchain %s has a file %s of its own", t.version, name)
		}
		files[name] = b
	}
	replace := make(map[string]string, len(files))
	for name, b := range files {
		to := filepath.Join(dir, fmt.Sprintf("%d%s", len(replace), filepath.Ext(name)))
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(t.goroot, "src", filepath.FromSlash(name))] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	return list, os.WriteFile(list, b, 0o644)
}
