package guests

import (
	"bytes"

	"gocat/internal/image"
)

// WithSegment returns the image b with one more segment, which follows the others:
// for tests of large images.
func WithSegment(b []byte, s image.SpecSegment) ([]byte, error) {
	file := bytes.NewReader(b)
	img, err := image.Parse(file)
	if err != nil {
		return nil, err
	}
	spec := image.Spec{
		Target: img.Target, Version: img.Version, Entry: img.Entry, Manifest: img.Manifest,
		Fault: img.Fault, Timer: img.Timer, Signals: img.Signals, Ring: img.Ring, Generation: img.Generation,
	}
	for _, old := range img.Segments {
		data := make([]byte, old.Filesz)
		if _, err := file.ReadAt(data, int64(old.Offset)); err != nil {
			return nil, err
		}
		spec.Segments = append(spec.Segments, image.SpecSegment{Vaddr: old.Vaddr, Data: data, Memsz: old.Memsz, Prot: old.Prot})
	}
	spec.Segments = append(spec.Segments, s)
	return image.Encode(spec)
}
