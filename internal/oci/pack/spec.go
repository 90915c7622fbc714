package pack

import (
	"encoding/hex"
	"encoding/json"
	"time"
)

// The documents of an image, as opencontainers/image-spec has them (manifest.md,
// config.md, image-index.md, image-layout.md), with the fields that gocat writes.

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor refers to a blob.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// host is the platform that gocat runs on.
var host = platform{Architecture: "amd64", OS: "linux"}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type config struct {
	platform
	Created time.Time `json:"created"`
	Config  process   `json:"config"`
	RootFS  rootfs    `json:"rootfs"`
	History []history `json:"history"`
}

type process struct {
	Entrypoint []string          `json:"Entrypoint"`
	Cmd        []string          `json:"Cmd,omitempty"`
	WorkingDir string            `json:"WorkingDir"`
	Labels     map[string]string `json:"Labels"`
}

type rootfs struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
}

// blob is content and what refers to it.
type blob struct {
	desc    descriptor
	content []byte
}

func blobOf(mediaType string, content []byte) blob {
	return blob{descriptor{MediaType: mediaType, Digest: "sha256:" + sum(content), Size: len(content)}, content}
}

func jsonBlob(mediaType string, v any) (blob, error) {
	content, err := json.Marshal(v)
	return blobOf(mediaType, content), err
}

// name is the blob's digest without its algorithm.
func (b *blob) name() string { return b.desc.Digest[len("sha256:"):] }

// sum is the SHA-256 of b in hexadecimal.
func sum(b []byte) string {
	s := sum256(b)
	return hex.EncodeToString(s[:])
}
