package pack

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// cat is a spec of the bundled cat.
func cat(t *testing.T) *Spec {
	t.Helper()
	b, err := guests.Cat(image.SPT, guests.Advanced)
	if err != nil {
		t.Fatal(err)
	}
	return &Spec{Kernel: b, Name: "cat.spt", Args: []string{"-l", "a b"}, Labels: map[string]string{"k": "v"}, Created: time.Unix(12345, 0).UTC()}
}

// wantImage has go-containerregistry check every digest and size of an image
// that it has read, and compares it with its spec.
func wantImage(t *testing.T, img v1.Image, s *Spec) {
	t.Helper()
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"k": "v", "gocat.target": "spt", "gocat.devices": "net stdin", "org.opencontainers.image.title": "cat.spt"}
	if c.Architecture != "amd64" || c.OS != "linux" || !c.Created.Equal(s.Created) || !reflect.DeepEqual(c.Config.Entrypoint, []string{"/cat.spt"}) ||
		!reflect.DeepEqual(c.Config.Cmd, s.Args) || !reflect.DeepEqual(c.Config.Labels, labels) {
		t.Errorf("config %+v", c)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatal(len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(r)
	h, err := tr.Next()
	if err != nil || h.Name != "cat.spt" || h.Mode != 0o555 || h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(s.Created) {
		t.Errorf("the kernel's header is %+v, %v", h, err)
	}
	if b, err := io.ReadAll(tr); err != nil || !bytes.Equal(b, s.Kernel) {
		t.Errorf("the kernel has %d bytes in the image, %v", len(b), err)
	}
	if h, err := tr.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("something follows the kernel: %+v, %v", h, err)
	}
}

// made is the image of a spec, made twice.
func made(t *testing.T, s *Spec) (img, same *Image) {
	t.Helper()
	img, err := Make(s)
	if err != nil {
		t.Fatal(err)
	}
	if same, err = Make(s); err != nil {
		t.Fatal(err)
	}
	return img, same
}

func TestLayout(t *testing.T) {
	s := cat(t)
	img, same := made(t, s)
	dir := t.TempDir()
	const tag = "registry.example:5000/a/web:1.0"
	if err := img.Layout(dir, tag); err != nil {
		t.Fatal(err)
	}
	idx, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	m, err := idx.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatal(m, err)
	}
	names := map[string]string{"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": tag}
	if d := m.Manifests[0]; !reflect.DeepEqual(d.Annotations, names) || !d.Platform.Equals(v1.Platform{OS: "linux", Architecture: "amd64"}) {
		t.Errorf("the index has %+v", d)
	}
	read, err := idx.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	wantImage(t, read, s)

	// An archive has the same files, and is the same twice.
	var archives [2]bytes.Buffer
	for i, img := range []*Image{img, same} {
		if err := img.Archive(&archives[i], tag); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0].Bytes(), archives[1].Bytes()) {
		t.Error("two archives of one spec differ")
	}
	files := 0
	for tr := tar.NewReader(&archives[0]); ; files++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, _ := io.ReadAll(tr)
		if b, err := os.ReadFile(filepath.Join(dir, h.Name)); err != nil || !bytes.Equal(b, content) {
			t.Errorf("%s differs in the archive: %v", h.Name, err)
		}
	}
	if files != 5 {
		t.Errorf("the archive has %d files", files)
	}
}

func TestDockerArchive(t *testing.T) {
	s := cat(t)
	img, same := made(t, s)
	path := filepath.Join(t.TempDir(), "cat.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var again bytes.Buffer
	if err := errors.Join(img.DockerArchive(f, "localhost/web:latest"), same.DockerArchive(&again, "localhost/web:latest")); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, again.Bytes()) {
		t.Errorf("two archives of one spec differ: %v", err)
	}
	tag, err := name.NewTag("localhost/web:latest")
	if err != nil {
		t.Fatal(err)
	}
	read, err := tarball.ImageFromPath(path, &tag)
	if err != nil {
		t.Fatal(err)
	}
	wantImage(t, read, s)
}

func TestRefused(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("text"), cat(t).Kernel[:200]} {
		if _, err := Make(&Spec{Kernel: b, Name: "x"}); err == nil {
			t.Errorf("an image was made of %d bytes", len(b))
		}
	}
}

func TestName(t *testing.T) {
	for text, want := range map[string]string{
		"web":                              "docker.io/library/web:latest",
		"user/web:1":                       "docker.io/user/web:1",
		"localhost/web":                    "localhost/web:latest",
		"localhost:5000/a/b__c-d.e:v1.2-x": "localhost:5000/a/b__c-d.e:v1.2-x",
		"Registry.Example/web":             "Registry.Example/web:latest",
		"REGISTRY/web":                     "REGISTRY/web:latest",
		"web:" + strings.Repeat("t", 128):  "docker.io/library/web:" + strings.Repeat("t", 128),
	} {
		if got, err := Name(text); got != want || err != nil {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "Web", "localhost/Web", "a b", "-", "_a", "a_", "a..b", "web:", "web:.x", "web@sha256:" + strings.Repeat("0", 64),
		"a//b", "/a", "a/", "../x", "-a.b/c", "x:port/web", "web:" + strings.Repeat("t", 129), "localhost/" + strings.Repeat("a", 256), "web\n"} {
		if got, err := Name(text); err == nil {
			t.Errorf("%q is the name %s", text, got)
		}
	}
}
