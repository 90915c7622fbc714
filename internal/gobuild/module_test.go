package gobuild

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/image"
)

// module writes a module with a program that makes a system call by assembler of
// golang.org/x/sys/unix, which lies in the module cache, and returns its
// directory. Its requirements are gocat's own.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"go.mod":       bytes.Replace(mod, []byte("module gocat\n"), []byte("module example\n"), 1),
		"go.sum":       sum,
		"main/main.go": []byte("package main\n\nimport \"golang.org/x/sys/unix\"\n\nfunc main() { println(unix.Getuid()) }\n"),
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A package of another module is built as part of that module, and assembler in
// the module cache makes its system calls through the gate.
func TestOtherModule(t *testing.T) {
	dir := filepath.Join(module(t), "main")
	c := Config{Package: dir, Target: image.SPT}.inItsModule()
	if c.Dir != dir || c.Package != "." {
		t.Fatalf("built as %q in %q", c.Package, c.Dir)
	}
	tool, err := findToolchain(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tool.link(t.Context(), c, false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	assembler := false
	for _, s := range symbols {
		assembler = assembler || strings.HasPrefix(s.Name, "golang.org/x/sys/unix.RawSyscallNoError")
	}
	if !assembler {
		t.Fatal("the program has no assembler of golang.org/x/sys/unix")
	}
	if err := checkText(f, symbols); err != nil {
		t.Error(err)
	}
}

// What is in the same module, or is no directory, is left to the go command.
func TestSameModule(t *testing.T) {
	for _, pkg := range []string{"../../examples/hello", "gocat/examples/hello", "./absent", "strings", "build.go"} {
		if c := (Config{Package: pkg}).inItsModule(); c.Dir != "" || c.Package != pkg {
			t.Errorf("%s: built as %q in %q", pkg, c.Package, c.Dir)
		}
	}
}
