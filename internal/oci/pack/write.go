package pack

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"time"
)

// file is a file of a layout or an archive.
type file struct {
	name    string
	content []byte
}

// DockerArchive writes an image as docker save and podman save do.
func (img *Image) DockerArchive(w io.Writer, name string) error {
	config := img.config.name() + ".json"
	layer := img.layer.name() + ".tar.gz"
	manifest, err := json.Marshal([]struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{{config, []string{name}, []string{layer}}})
	if err != nil {
		return err
	}
	return archive(w, []file{{config, img.config.content}, {layer, img.layer.content}, {"manifest.json", manifest}})
}

// Archive writes an image as the archive of an OCI image layout.
func (img *Image) Archive(w io.Writer, name string) error {
	files, err := img.layout(name)
	if err != nil {
		return err
	}
	return archive(w, files)
}

// Layout writes an image as an OCI image layout into a directory.
func (img *Image) Layout(dir string, name string) error {
	files, err := img.layout(name)
	if err != nil {
		return err
	}
	for _, f := range files {
		to := filepath.Join(dir, f.name)
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(to, f.content, 0o666); err != nil {
			return err
		}
	}
	return nil
}

// layout returns the files of an OCI image layout (image-layout.md of
// opencontainers/image-spec). The image's name is there for podman and skopeo,
// and once more for containerd.
func (img *Image) layout(name string) ([]file, error) {
	desc := img.manifest.desc
	desc.Platform = &host
	desc.Annotations = map[string]string{
		"org.opencontainers.image.ref.name": name,
		"io.containerd.image.name":          name,
	}
	index, err := json.Marshal(index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{desc}})
	if err != nil {
		return nil, err
	}
	files := []file{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}}
	for _, b := range []blob{img.layer, img.config, img.manifest} {
		files = append(files, file{"blobs/sha256/" + b.name(), b.content})
	}
	return files, nil
}

// archive writes an archive of files without a time.
func archive(w io.Writer, files []file) error {
	tw := tar.NewWriter(w)
	for _, f := range files {
		if err := add(tw, f, 0o644, time.Unix(0, 0)); err != nil {
			return err
		}
	}
	return tw.Close()
}

func add(w *tar.Writer, f file, mode int64, at time.Time) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: mode, Size: int64(len(f.content)), ModTime: at}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(f.content)
	return err
}
