package kvmhvt

import (
	"encoding/binary"
	"fmt"
	"io"

	"gocat/internal/abi"
	"gocat/internal/image"
	"gocat/internal/raw"
)

// bootInfo is what the tender tells the guest at its start (struct
// hvt_boot_info).
type bootInfo struct {
	memSize, kernelEnd uint64
	tscHz              uint64
	manifest           image.Manifest
	args               string
	ring               uint64 // guest address of the network ring; 0 when there is none
}

// bootInfoSize is the size of struct hvt_boot_info in bytes, with the fields
// that Solo5 0.11 appended. Older guests do not look at those.
const bootInfoSize = abi.HVTBootSize

// write puts the boot info, the manifest and the command line into low guest
// memory. Host descriptors are not the guest's business and written as 0.
func (b *bootInfo) write(mem []byte) error {
	manifest := image.Manifest(raw.Clone(b.manifest))
	for i := range manifest {
		manifest[i].HostFD = 0
	}
	manifestAddr := uint64(bootInfoAddr + bootInfoSize)
	cmdlineAddr := manifestAddr + uint64(manifest.Size())

	le := binary.LittleEndian
	out := raw.Slice[byte](0, bootInfoSize+manifest.Size()+len(b.args))
	for _, v := range [...]uint64{b.memSize, b.kernelEnd, b.tscHz, cmdlineAddr, manifestAddr} {
		out = le.AppendUint64(out, v)
	}
	features := uint32(featureFullWrites)
	if b.ring != 0 {
		features |= featureRing
	}
	out = le.AppendUint32(out, features)
	out = le.AppendUint32(out, 0) // guest_features, the guest's answer
	out = le.AppendUint64(out, b.ring)
	out = manifest.AppendTo(out)
	out = append(out, b.args...)
	copy(mem[bootInfoAddr:minBase], out) // at most 15 KiB; the NUL is there already
	return nil
}

// load reads the segments of an image into guest memory.
func load(mem []byte, img *image.Image, file io.ReaderAt) error {
	for _, s := range img.Segments {
		if s.Filesz == 0 {
			continue
		}
		if s.Vaddr > uint64(len(mem)) || s.Filesz > uint64(len(mem))-s.Vaddr {
			return fmt.Errorf("segment %d: %d bytes at %#x are past the guest's memory", s.Index, s.Filesz, s.Vaddr)
		}
		if n, err := file.ReadAt(mem[s.Vaddr:][:s.Filesz], int64(s.Offset)); n < int(s.Filesz) {
			return fmt.Errorf("segment %d: read %d of %d bytes: %w", s.Index, n, s.Filesz, err)
		}
	}
	return nil
}
