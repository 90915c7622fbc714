package symbols

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// TestOwn names the functions of the running program.
func TestOwn(t *testing.T) {
	table, err := Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	pc := uint64(reflect.ValueOf(TestOwn).Pointer())
	p, ok := table.At(pc + 1)
	if !ok || p.Function != "gocat/internal/symbols.TestOwn" || p.Offset != 1 || filepath.Base(p.File) != "symbols_test.go" || p.Line < 15 || p.Line > 25 {
		t.Errorf("%v, %v", p, ok)
	}
	if p, ok := table.At(0); ok {
		t.Errorf("0 is %v", p)
	}
	data := uint64(reflect.ValueOf(&binary.LittleEndian).Pointer())
	if p, ok := table.At(data); ok {
		t.Errorf("a variable is %v", p)
	}

	place := fmt.Sprintf("TestOwn+0x1 %s:%d)", p.File, p.Line)
	for in, want := range map[string]string{
		"":                             "",
		"no newline":                   "no newline",
		fmt.Sprintf("rip=%#x\n", pc+1): fmt.Sprintf("rip=%#x (gocat/internal/symbols.%s\n", pc+1, place),
		fmt.Sprintf("rip %#x in gocat/internal/symbols.TestOwn+0x1\n", pc+1): fmt.Sprintf("rip %#x in gocat/internal/symbols.TestOwn+0x1 (%s:%d)\n", pc+1, p.File, p.Line),
		fmt.Sprintf("x+%#x %#xg 0x 0x11112222333344445\n", pc+1, pc+1):       fmt.Sprintf("x+%#x %#xg 0x 0x11112222333344445\n", pc+1, pc+1),
		strings.Repeat("x", 200<<10) + "\n":                                  strings.Repeat("x", 200<<10) + "\n",
	} {
		var out bytes.Buffer
		if err := table.Filter(&out, strings.NewReader(in)); err != nil || out.String() != want {
			t.Errorf("%v, %.200q becomes %.200q, want %.200q", err, in, out.String(), want)
		}
	}
}

func TestOpenRefused(t *testing.T) {
	dir := t.TempDir()
	fifo, text := filepath.Join(dir, "fifo"), filepath.Join(dir, "text")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(text, []byte("text"), 0o600), os.WriteFile(filepath.Join(dir, "plain"), plain(t), 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/nowhere": "no such file", dir: "not a regular file", fifo: "not a regular file", text: "not an ELF file",
		filepath.Join(dir, "plain"): "neither symbols",
	} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", path, err, want)
		}
	}
}

// plain is an image without symbols.
func plain(t testing.TB) []byte {
	b, err := image.Encode(image.Spec{Target: image.SPT, Version: 2, Entry: 0x100000,
		Segments: []image.SpecSegment{{Vaddr: 0x100000, Data: make([]byte, 256), Prot: image.R | image.X}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goHeaderOf is the header of a table of functions, with n of them, that ends size
// bytes after its beginning.
func goHeaderOf(n, size uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, goMagic)
	b = append(b, 0, 0, 1, 8)
	for _, w := range []uint64{n, 1, 0, goHeader, goHeader, goHeader, goHeader, size} {
		b = le.AppendUint64(b, w)
	}
	return b
}

// FuzzNew reads images that are anything. Each name is fit for a terminal.
func FuzzNew(f *testing.F) {
	b := plain(f)
	f.Add(b, uint64(0x100000))
	for _, h := range [][]byte{goHeaderOf(1, goHeader), goHeaderOf(1<<40, 200), goHeaderOf(3, 100)} {
		withGo := bytes.Clone(b)
		copy(withGo[len(withGo)-256:], h)
		f.Add(withGo, uint64(0x101000))
	}
	f.Fuzz(func(t *testing.T, b []byte, addr uint64) {
		table, err := New(b)
		if err != nil {
			return
		}
		if p, ok := table.At(addr); ok && (!printable(p.Function) || p.File != "" && !printable(p.File)) {
			t.Errorf("%q", p)
		}
	})
}
