package engines

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// archive makes localhost/NAME of files, to be loaded.
func archive(t testing.TB, tag string, config v1.Config, files map[string][]byte) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for path, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layer.tar")
	write(t, path, b.String())
	layer, err := tarball.LayerFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture, c.Config = "linux", "amd64", config
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag("localhost/" + tag + ":latest")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, tag+".tar") // where every user's engine finds it
	if err := tarball.WriteToFile(file, ref, img); err != nil {
		t.Fatal(err)
	}
	return file
}

// uruncImage makes an image as those for urunc are: what it says of itself is in
// urunc.json, in base64, twice.
func uruncImage(t testing.TB, tag string, says map[string]string, kernel string, files map[string][]byte) string {
	t.Helper()
	twice := func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	}
	const place = "/.boot/kernel"
	says["unikernelType"], says["binary"] = "mirage", place
	all := map[string]string{}
	for key, value := range says {
		all["com.urunc.unikernel."+key] = twice(value)
	}
	content, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if files == nil {
		files = map[string][]byte{}
	}
	files["urunc.json"] = content
	if files[strings.TrimPrefix(place, "/")], err = os.ReadFile(kernel); err != nil {
		t.Fatal(err)
	}
	return archive(t, tag, v1.Config{Entrypoint: []string{place}}, files)
}

// testUrunc runs images made for urunc: one with a disk of its own, and one with a
// network, if the engine publishes ports.
func testUrunc(t *testing.T, e engine, backend string) {
	disk := make([]byte, 1<<20)
	copy(disk, "first")
	e.load(t, uruncImage(t, "urunc-disk-"+backend, map[string]string{"hypervisor": backend, "cmdline": "second", "block": "/.boot/disk.img", "solo5BlkDev": "data"},
		filepath.Join(dir, "disk."+backend), map[string][]byte{".boot/disk.img": disk}))
	if got := e.run(t, spec{image: "urunc-disk-" + backend}); got.status != 0 || got.stdout != "had first\nwrote second\n" {
		t.Errorf("%+v", got)
	}
	if e.lacks("publish") != "" {
		return
	}
	e.load(t, uruncImage(t, "urunc-web-"+backend, map[string]string{"hypervisor": backend, "cmdline": "", "solo5NetDev": "service"},
		filepath.Join(dir, "web."+backend), nil))
	e.launch(t, spec{image: "urunc-web-" + backend, publish: fmt.Sprintf("%d:80", port), networks: defaultNetworks(e)})
	wantGreeting(t, port)
}
