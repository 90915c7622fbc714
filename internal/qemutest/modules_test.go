package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gocat/internal/testhost"
)

func TestLoadOrder(t *testing.T) {
	needs := map[string][]string{
		"kvm_amd": {"kvm", "ccp"}, "kvm": {"irqbypass"}, "irqbypass": nil, "ccp": nil, "tun": nil,
		"vfio": {"irqbypass"}, "self": {"self"}, "egg": {"hen"}, "hen": {"egg"}, "broken": {"gone"},
	}
	depends := func(name string) ([]string, error) {
		n, ok := needs[name]
		if !ok {
			return nil, errNoModule
		}
		return n, nil
	}
	for _, tt := range []struct {
		want, order string
		err         error
	}{
		{"kvm-amd tun", "irqbypass kvm ccp kvm_amd tun", nil},
		{"tun kvm_amd", "tun irqbypass kvm ccp kvm_amd", nil},
		{"kvm vfio kvm irqbypass", "irqbypass kvm vfio", nil},
		{"self", "", errCycle},
		{"tun egg", "", errCycle},
		{"broken", "", errNoModule},
	} {
		order, err := loadOrder(strings.Fields(tt.want), depends)
		if got := strings.Join(order, " "); got != tt.order || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %s, %v", tt.want, got, err)
		}
	}
}

// module makes a relocatable ELF file whose sections are a table of names and
// one that holds data.
func module(section, data string) []byte {
	names := "\x00" + section + "\x00"
	le := binary.LittleEndian
	b := []byte("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	b = le.AppendUint16(b, 1)                        // relocatable
	b = le.AppendUint16(b, 62)                       // x86-64
	b = le.AppendUint32(b, 1)                        // version
	b = append(b, make([]byte, 16)...)               // entry, program headers
	b = le.AppendUint64(b, 64)                       // section headers
	b = append(b, make([]byte, 4)...)                // flags
	for _, v := range []uint16{64, 0, 0, 64, 3, 1} { // sizes and counts; section 1 has the names
		b = le.AppendUint16(b, v)
	}
	header := func(name, typ uint32, offset, size int) {
		b = le.AppendUint32(b, name)
		b = le.AppendUint32(b, typ)
		b = append(b, make([]byte, 16)...)
		b = le.AppendUint64(b, uint64(offset))
		b = le.AppendUint64(b, uint64(size))
		b = append(b, make([]byte, 24)...)
	}
	header(0, 0, 0, 0)
	header(0, 3, 256, len(names))
	header(1, 1, 256+len(names), len(data))
	return append(append(b, names...), data...)
}

func TestModuleDepends(t *testing.T) {
	for _, tt := range []struct{ info, want string }{
		{"license=GPL\x00depends=kvm,ccp\x00retpoline=Y\x00", "kvm ccp"},
		{"depends=irqbypass\x00", "irqbypass"},
		{"softdep=pre: depends=x\x00depends=\x00name=tun\x00", ""},
		{"", ""},
	} {
		got, err := moduleDepends(module(".modinfo", tt.info))
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%q: %q, %v", tt.info, got, err)
		}
	}
	for _, bad := range [][]byte{nil, []byte("no ELF file"), module(".text", "depends=x\x00")} {
		if got, err := moduleDepends(bad); err == nil {
			t.Errorf("%q depends on %q", bad, got)
		}
	}
}

// TestSelectFiles takes a kernel and some of its modules from a package's tree.
func TestSelectFiles(t *testing.T) {
	tree := t.TempDir()
	put := func(name string, data []byte) {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const modules = "lib/modules/6.1.0/kernel/"
	wifi, kvm, amd := module(".modinfo", "depends=\x00"), module(".modinfo", "name=kvm\x00"), module(".modinfo", "depends=kvm\x00")
	put("boot/config-6.1.0", nil)
	put("boot/vmlinuz-6.1.0", []byte("kernel"))
	put(modules+"drivers/wifi.ko", wifi)
	put(modules+"arch/kvm/kvm-amd.ko", amd)
	put(modules+"arch/kvm/kvm.ko.xz", compress(t, kvm))

	dir := filepath.Join(t.TempDir(), "kernel")
	if err := selectFiles(tree, dir, []string{"kvm-amd"}); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"vmlinuz": []byte("kernel"), "00-kvm.ko": kvm, "01-kvm_amd.ko": amd}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want) {
		t.Errorf("%v, %v", entries, err)
	}
	for name, data := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func compress(t *testing.T, data []byte) []byte {
	t.Helper()
	xz, err := exec.LookPath("xz")
	if err != nil {
		testhost.Skip(t, err.Error())
	}
	cmd := exec.Command(xz, "--stdout")
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImageName(t *testing.T) {
	for _, tt := range []struct{ show, want string }{
		{"Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n", "linux-image-6.1.0-56-amd64"},
		{"Depends: x (>> 1), linux-image-6.12.9+deb12-amd64, y\n", "linux-image-6.12.9+deb12-amd64"},
		{"Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool\n", ""},
		{"Suggests: linux-image-6.1.0-56-amd64\n", ""},
	} {
		got := ""
		if m := imageName.FindStringSubmatch(tt.show); m != nil {
			got = m[1]
		}
		if got != tt.want {
			t.Errorf("%q: %q", tt.show, got)
		}
	}
}

func TestLibraries(t *testing.T) {
	const ldd = "\tlinux-vdso.so.1 (0x00007ffd2a5f2000)\n" +
		"\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f7d59e00000)\n" +
		"\t/lib64/ld-linux-x86-64.so.2 (0x00007f7d5a000000)\n"
	want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"}
	if got := libraries(ldd); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
