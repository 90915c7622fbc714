// Package pack makes container images of unikernels: one layer with one file,
// which is the entry point. Equal specs give equal bytes, when built with the
// same version of Go.
//
// The few documents are written here: libraries for them, go-containerregistry
// among others, compile regular expressions in every command of gocat's before it
// does anything (0.3 ms and more), and bring compressors that it has no use for.
// Tests have go-containerregistry read what this package writes.
package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"maps"
	"strings"
	"time"

	"gocat/internal/image"
)

// Spec says what a container image is made of.
type Spec struct {
	Kernel  []byte            // the unikernel image
	Name    string            // its file's name in the root directory
	Args    []string          // the guest's arguments, unless those who run it give some
	Labels  map[string]string // besides those that say what the unikernel is
	Created time.Time         // of the file and the image
}

// Image is a container image.
type Image struct {
	manifest, config, layer blob
}

// Make makes the image of a spec. Errors say what is wrong with its kernel.
func Make(s *Spec) (*Image, error) {
	m, err := image.Parse(bytes.NewReader(s.Kernel))
	if err != nil {
		return nil, err
	}
	archive, err := archived(s)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(archive)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	labels := describe(s.Name, m)
	maps.Copy(labels, s.Labels)
	img := &Image{layer: blobOf(mediaLayer, packed.Bytes())}
	img.config, err = jsonBlob(mediaConfig, config{
		platform: host,
		Created:  s.Created,
		Config:   process{Entrypoint: []string{"/" + s.Name}, Cmd: s.Args, WorkingDir: "/", Labels: labels},
		RootFS:   rootfs{Type: "layers", DiffIDs: []string{"sha256:" + sum(archive)}},
		History:  []history{{Created: s.Created, CreatedBy: "gocat image"}},
	})
	if err != nil {
		return nil, err
	}
	img.manifest, err = jsonBlob(mediaManifest, manifest{
		SchemaVersion: 2,
		MediaType:     mediaManifest,
		Config:        img.config.desc,
		Layers:        []descriptor{img.layer.desc},
	})
	return img, err
}

// describe returns labels that say for people what a unikernel is. A runtime
// reads its notes.
func describe(fileName string, m *image.Image) map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title": fileName,
		"gocat.target":                   m.Target.String(),
	}
	var devices []string
	for _, e := range m.Manifest {
		switch e.Type {
		case image.Net:
			devices = append(devices, "net "+e.Name)
		case image.Block:
			devices = append(devices, "block "+e.Name)
		}
	}
	if len(devices) > 0 {
		labels["gocat.devices"] = strings.Join(devices, ", ")
	}
	return labels
}

// archived is the archive of a layer: the kernel, which everybody may read and
// nobody write.
func archived(s *Spec) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := add(w, file{s.Name, s.Kernel}, 0o555, s.Created)
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}
