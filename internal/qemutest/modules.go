package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// selectFiles copies the kernel and the modules wanted, with those they need,
// from an unpacked kernel package into the new directory dir. The modules are
// decompressed, and their names sort in the order in which to load them.
func selectFiles(tree, dir string, want []string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	images, err := filepath.Glob(filepath.Join(tree, "boot", "vmlinuz-*"))
	if err == nil && len(images) != 1 {
		err = fmt.Errorf("%d files /boot/vmlinuz-*, expected one", len(images))
	}
	if err != nil {
		return err
	}
	if err := os.Rename(images[0], filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	paths, err := findModules(tree)
	if err != nil {
		return err
	}
	contents := map[string][]byte{}
	order, err := loadOrder(want, func(name string) ([]string, error) {
		path, ok := paths[name]
		if !ok {
			return nil, errNoModule
		}
		contents[name], err = readModule(path)
		if err != nil {
			return nil, err
		}
		return moduleDepends(contents[name])
	})
	if err != nil {
		return err
	}
	for i, name := range order {
		path := filepath.Join(dir, fmt.Sprintf("%02d-%s.ko", i, name))
		if err := os.WriteFile(path, contents[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

var (
	errNoModule = errors.New("the kernel has no such module")
	errCycle    = errors.New("it depends on itself")
)

// findModules returns the paths of all modules below dir by name.
func findModules(dir string) (map[string]string, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(d.Name(), ".ko"); ok && d.Type().IsRegular() {
			paths[moduleName(name)] = path
		}
		return err
	})
	return paths, err
}

// moduleName is the name as the kernel knows it; file names may have dashes.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// readModule reads a module, which may be compressed.
func readModule(path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".ko":
		return os.ReadFile(path)
	case ".xz":
		return exec.Command("xz", "--decompress", "--stdout", path).Output()
	case ".zst":
		return exec.Command("zstd", "--decompress", "--stdout", path).Output()
	}
	return nil, fmt.Errorf("module %s: compression is not known", filepath.Base(path))
}

// moduleDepends returns the names of the modules that a module's .modinfo
// section, a sequence of NUL-terminated key=value strings, says it needs.
func moduleDepends(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, errors.New("no section .modinfo")
	}
	data, err := s.Data()
	if err != nil {
		return nil, err
	}
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}

// loadOrder returns the modules wanted and those that they need, each once and
// after all that it depends on.
func loadOrder(want []string, depends func(name string) ([]string, error)) ([]string, error) {
	var order []string
	done := map[string]bool{} // false while a module's dependencies are looked at
	var visit func(name string) error
	visit = func(name string) error {
		name = moduleName(name)
		if loaded, seen := done[name]; loaded {
			return nil
		} else if seen {
			return fmt.Errorf("module %s: %w", name, errCycle)
		}
		done[name] = false
		needs, err := depends(name)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		done[name] = true
		order = append(order, name)
		return nil
	}
	for _, name := range want {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}
