// Package bundle reads a container's config.json, of the OCI runtime
// specification, and refuses by name what the runtime does not honour.
//
// The file comes from an engine that has put together what a user and an image
// asked for, so all of it is hostile: it is bounded, and checked before anything
// is made.
package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// fileName is the name of the configuration in a bundle.
const fileName = "config.json"

// maxConfig is the size in bytes of the largest config.json: many times what
// engines write, of which the seccomp policy is most.
const maxConfig = 4 << 20

// Load reads and checks the configuration of the bundle in directory dir, which
// it returns as an absolute path too. Paths of the host's in it are absolute
// then.
func Load(dir string) (*specs.Spec, string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, fileName)
	// O_NONBLOCK: a FIFO without a writer must not hang.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, "", errors.Join(fmt.Errorf("%s is not a regular file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, "", err
	}
	spec, err := Parse(b)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	if !filepath.IsAbs(spec.Root.Path) {
		spec.Root.Path = filepath.Join(dir, spec.Root.Path)
	}
	for i := range spec.Mounts {
		if m := &spec.Mounts[i]; IsBind(m) && !filepath.IsAbs(m.Source) {
			m.Source = filepath.Join(dir, m.Source)
		}
	}
	return spec, dir, nil
}

// Parse reads and checks a configuration.
func Parse(b []byte) (*specs.Spec, error) {
	if len(b) > maxConfig {
		return nil, fmt.Errorf("more than %d bytes", maxConfig)
	}
	var spec specs.Spec
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&spec); err != nil {
		return nil, oneLine(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	if err := Check(&spec); err != nil {
		return nil, err
	}
	return &spec, nil
}

// oneLine is an error of the JSON reader, which may quote what it read.
func oneLine(err error) error {
	q := strconv.QuoteToASCII(err.Error())
	if len(q) > 200 {
		q = q[:200] + `..."`
	}
	return errors.New("not JSON: " + q[1:len(q)-1])
}

// IsBind reports whether a mount is of a file or directory of the host's.
func IsBind(m *specs.Mount) bool {
	if m.Type == "bind" {
		return true
	}
	for _, o := range m.Options {
		if o == "bind" || o == "rbind" {
			return true
		}
	}
	return false
}
