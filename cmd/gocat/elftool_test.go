package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

func elf(t *testing.T, args ...string) result {
	return call{program: links + "/" + elftoolName, args: args}.run(t)
}

func TestElftool(t *testing.T) {
	path := kernel(t, exiting(0, image.Entry{Name: "service", Type: image.Net}, image.Entry{Name: "storage", Type: image.Block}))
	other := exiting(0)
	other.Target = 3
	for _, test := range []struct{ command, path, want string }{
		{"query-abi", path, "{\n  \"type\": \"solo5.abi\",\n  \"target\": \"spt\",\n  \"version\": 2\n}\n"},
		{"query-abi", kernel(t, other), "{\n  \"type\": \"solo5.abi\",\n  \"target\": \"virtio\",\n  \"version\": 2\n}\n"},
		{"query-manifest", path, "{\n  \"type\": \"solo5.manifest\",\n  \"version\": 1,\n  \"devices\": [\n" +
			"    { \"name\": \"service\", \"type\": \"NET_BASIC\" },\n    { \"name\": \"storage\", \"type\": \"BLOCK_BASIC\" }\n  ]\n}\n"},
	} {
		if r := elf(t, test.command, test.path).wantSuccess(t); r.stdout != test.want {
			t.Errorf("%s: %q, want %q", test.command, r.stdout, test.want)
		}
	}
	manifest := file(t, "manifest.json", []byte(elf(t, "query-manifest", path).stdout))
	source := filepath.Join(t.TempDir(), "manifest.c")
	elf(t, "gen-manifest", manifest, source).wantSuccess(t)
	if b, err := os.ReadFile(source); err != nil || !strings.Contains(string(b), `{ .name = "storage", .type = MFT_DEV_BLOCK_BASIC }`) {
		t.Errorf("%v, %s", err, b)
	}
}

func TestElftoolErrors(t *testing.T) {
	elf(t, "query-abi", "/nonexistent").wantError(t, elftoolName, "no such file or directory")
	elf(t, "query-manifest", "/etc/passwd").wantError(t, elftoolName, "not an ELF file")
	elf(t, "gen-manifest", "/etc/passwd", t.TempDir()+"/x").wantError(t, elftoolName, "manifest: invalid character")
	for _, args := range [][]string{nil, {"help"}, {"query-abi"}, {"query-abi", "a", "b"}} {
		if r := elf(t, args...); r.status != 1 || r.stdout != "" || !strings.HasPrefix(r.stderr, "usage: solo5-elftool COMMAND ...\n") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// Solo5's own elftool prints the same of Solo5's own images.
func TestElftoolAsSolo5(t *testing.T) {
	dir := testhost.Solo5(t)
	theirs := filepath.Join(dir, "elftool", elftoolName)
	for _, name := range []string{"test_hello/test_hello.hvt", "test_hello/test_hello.virtio", "test_net_2if/test_net_2if.spt"} {
		for _, command := range []string{"query-abi", "query-manifest"} {
			path := filepath.Join(dir, "tests", name)
			want, err := exec.Command(theirs, command, path).Output()
			if err != nil {
				t.Fatal(err)
			}
			if r := elf(t, command, path).wantSuccess(t); r.stdout != string(want) {
				t.Errorf("%s %s: %q, Solo5 prints %q", command, name, r.stdout, want)
			}
		}
	}
}
