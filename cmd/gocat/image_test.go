package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImage(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "") // for its return
	os.Unsetenv("SOURCE_DATE_EPOCH")  // which make sets
	dir := t.TempDir()
	kernel := filepath.Join(dir, "web.hvt")
	gocat(t, "guest", "--backend=hvt", "-o", kernel).wantSuccess(t)

	archive := filepath.Join(dir, "web.tar")
	gocat(t, "image", "-o", archive, "-t", "localhost/a", "--label", "a=b=c", kernel, "--tag", "x").wantSuccess(t)
	b, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"RepoTags":["localhost/a:latest"]`, `"Entrypoint":["/web.hvt"]`, `"Cmd":["--tag","x"]`, `"a":"b=c"`, `"gocat.target":"hvt"`, `"created":"1970-01-01T00:00:00Z"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the archive has no %s", want)
		}
	}
	if got := gocat(t, "image", "-o", "-", "-t", "localhost/a", "--label", "a=b=c", kernel, "--tag", "x"); got.stdout != string(b) {
		t.Errorf("standard output is not the file: %d bytes, %q", len(got.stdout), got.stderr)
	}
	later := call{env: []string{"SOURCE_DATE_EPOCH=86400"}, args: []string{"image", "-o", "-", kernel}}.run(t)
	if !strings.Contains(later.stdout, `"created":"1970-01-02T00:00:00Z"`) || !strings.Contains(later.stdout, `"localhost/web:latest"`) {
		t.Errorf("SOURCE_DATE_EPOCH or the default name is not in the archive")
	}

	call{env: []string{"SOURCE_DATE_EPOCH=-1"}, args: []string{"image", "-o", archive, kernel}}.run(t).wantError(t, "gocat", "SOURCE_DATE_EPOCH")

	// A directory is a layout, new or empty.
	layout := filepath.Join(dir, "layout")
	gocat(t, "image", "-o", layout+"/", kernel).wantSuccess(t)
	if _, err := os.Stat(layout + "/index.json"); err != nil {
		t.Error(err)
	}
	sealed := filepath.Join(dir, "sealed")
	gocat(t, "seal", "-o", sealed).wantSuccess(t)
	big := filepath.Join(dir, "Big.spt")
	gocat(t, "guest", "-o", big).wantSuccess(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"no output: give a file or a directory with -o", []string{kernel}},
		{"the directory is not empty", []string{"-o", layout, kernel}},
		{"it is a directory: name a file", []string{"-o", layout, "--format=docker-archive", kernel}},
		{"oci-layout is a directory", []string{"-o", "-", "--format=oci-layout", kernel}},
		{`--format: "tar": want docker-archive, oci-archive or oci-layout`, []string{"-o", archive, "--format=tar", kernel}},
		{`--label: "a": want KEY=VALUE`, []string{"-o", archive, "--label=a", kernel}},
		{"--label: a is given twice", []string{"-o", archive, "--label=a=1", "--label=a=2", kernel}},
		{`--tag: "Web": want the name of an image`, []string{"-o", archive, "--tag=Web", kernel}},
		{`--tag: "localhost/Big": want the name of an image`, []string{"-o", archive, big}},
		{"not an ELF file", []string{"-o", archive, "../../LICENSE"}},
		{"a sealed guest is no image", []string{"-o", archive, sealed}},
		{"KERNEL is empty", []string{"-o", archive, ""}},
		{"no such file", []string{"-o", archive, dir + "/missing"}},
		{"no such file", []string{"-o", dir + "/missing/x", kernel}},
	} {
		gocat(t, append([]string{"image"}, c.args...)...).wantError(t, "gocat", c.want)
	}
	if now, err := os.ReadFile(archive); err != nil || string(now) != string(b) {
		t.Error("a failure changed the file that was there")
	}
}
