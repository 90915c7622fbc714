package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"gocat/guest/kernel"
	"gocat/internal/abi"
)

// kernelPath is the import path that the library kernel has in an image.
const kernelPath = "internal/runtime/gocat"

// added returns the files that the overlay adds, by their paths below
// GOROOT/src: the library kernel and what goes into package runtime.
func added() (map[string][]byte, error) {
	files := make(map[string][]byte)
	err := addNumbers(files)
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(kernel.Source, ".", func(name string, d fs.DirEntry, err error) error {
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
		files[to] = bytes.ReplaceAll(b, []byte(`"gocat/internal/abi"`), []byte(strconv.Quote(numbersPath)))
		return err
	})
	return files, err
}

// numbersPath is the import path that package abi has in an image: the standard
// library imports nothing from elsewhere.
const numbersPath = kernelPath + "/abi"

// addNumbers adds package abi, which the library kernel imports.
func addNumbers(files map[string][]byte) error {
	list, err := abi.Source.ReadDir(".")
	for _, f := range list {
		if f.Name() == "source.go" {
			continue
		}
		b, err := abi.Source.ReadFile(f.Name())
		if err != nil {
			return err
		}
		files[numbersPath+"/"+f.Name()] = b
	}
	return err
}

// overlay writes the overlay for t into directory dir and returns the path of its
// description.
func (t *toolchain) overlay(ctx context.Context, dir string, sockets bool) (string, error) {
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
	if sockets {
		more, err := t.addSockets(ctx)
		if err != nil {
			return "", err
		}
		maps.Copy(files, more)
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
