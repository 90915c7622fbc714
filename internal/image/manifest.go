package image

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"gocat/internal/abi"
	"gocat/internal/raw"
)

// DeviceType is the type of a manifest entry (Solo5 mft_abi.h).
type DeviceType uint32

// Device types.
const (
	Block    DeviceType = abi.DeviceBlock
	Net      DeviceType = abi.DeviceNet
	Reserved DeviceType = abi.DeviceReserved // entry 0 only
)

// String returns the name that Solo5's manifests and tenders use.
func (d DeviceType) String() string {
	switch d {
	case Block:
		return "BLOCK_BASIC"
	case Net:
		return "NET_BASIC"
	case Reserved:
		return "RESERVED_FIRST"
	}
	return "unknown type " + strconv.FormatUint(uint64(d), 10)
}

// MaxEntries is the most entries a manifest may have, entry 0 included.
const MaxEntries = abi.MaxEntries

// MaxName is the most bytes a device name may have (Solo5 MFT_NAME_MAX).
const MaxName = abi.MaxName

// Manifest lists the devices a guest declares. The index of an entry is the
// device's handle; entry 0 is always the reserved one.
type Manifest []Entry

// Entry is one manifest entry. An image supplies Name and Type; a tender fills
// in the rest when it attaches the device.
type Entry struct {
	Name string // at most MaxName bytes, ASCII letters and digits
	Type DeviceType

	Capacity  uint64  // Block: bytes
	BlockSize uint16  // Block: bytes, a power of two >= 512
	MAC       [6]byte // Net
	MTU       uint16  // Net: bytes, without the Ethernet header
	HostFD    int32   // spt: the descriptor that the guest uses; 0 elsewhere
	Attached  bool
}

// Size is the number of bytes that AppendTo appends: a struct mft.
func (m Manifest) Size() int { return abi.ManifestHeader + len(m)*abi.EntrySize }

// AppendTo appends to dst the struct mft that a tender hands to its guest, with
// the fields that the tender filled in, and returns the extended slice. The
// guest needs it at an address aligned to 8. A name longer than MaxName is cut.
func (m Manifest) AppendTo(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, abi.ManifestVersion)
	dst = le.AppendUint32(dst, uint32(len(m)))
	for i := range m {
		e := &m[i]
		var b [abi.EntrySize]byte
		copy(b[:MaxName], e.Name)
		le.PutUint32(b[abi.EntryType:], uint32(e.Type))
		switch e.Type {
		case Block:
			le.PutUint64(b[abi.EntryCapacity:], e.Capacity)
			le.PutUint16(b[abi.EntryBlockSize:], e.BlockSize)
		case Net:
			copy(b[abi.EntryMAC:abi.EntryMTU], e.MAC[:])
			le.PutUint16(b[abi.EntryMTU:], e.MTU)
		}
		le.PutUint32(b[abi.EntryHostFD:], uint32(e.HostFD))
		if e.Attached {
			b[abi.EntryAttached] = 1
		}
		dst = append(dst, b[:]...)
	}
	return dst
}

// ParseManifest reads the struct mft of an image. Only names and types are
// taken from it; the fields that a tender fills in are left zero.
//
// It refuses what Solo5's tenders refuse (version, count, exact size, entry 0,
// unterminated names, entries already attached), and also what no manifest of
// Solo5's elftool contains and no tender could attach: names that are empty,
// not alphanumeric or not unique within their type, and unknown types. Names
// therefore print safely.
func ParseManifest(b []byte) (Manifest, error) {
	le := binary.LittleEndian
	if len(b) < abi.ManifestHeader {
		return nil, manifestErrorf("%d bytes, fewer than its header's %d", len(b), abi.ManifestHeader)
	}
	if v := le.Uint32(b); v != abi.ManifestVersion {
		return nil, manifestErrorf("version %d, expected %d", v, abi.ManifestVersion)
	}
	n := le.Uint32(b[4:])
	if n < 1 || n > MaxEntries {
		return nil, manifestErrorf("%d entries, expected 1 to %d", n, MaxEntries)
	}
	if want := abi.ManifestHeader + int(n)*abi.EntrySize; len(b) != want {
		return nil, manifestErrorf("%d bytes, expected %d for %d entries", len(b), want, n)
	}
	m := Manifest(raw.Slice[Entry](int(n), int(n)))
	for i := range m {
		e := b[abi.ManifestHeader+i*abi.EntrySize:][:abi.EntrySize]
		if err := m.parseEntry(i, e); err != nil {
			return nil, manifestErrorf("entry %d: %w", i, err)
		}
	}
	return m, nil
}

// parseEntry fills in m[i] from b. The entries before it are parsed already.
func (m Manifest) parseEntry(i int, b []byte) error {
	if b[abi.EntryAttached] != 0 {
		return errors.New("already attached")
	}
	typ := DeviceType(binary.LittleEndian.Uint32(b[abi.EntryType:]))
	n := 0
	for n <= MaxName && b[n] != 0 {
		n++
	}
	if n > MaxName || b[MaxName] != 0 {
		return fmt.Errorf("name is not terminated within %d bytes", MaxName+1)
	}
	name := raw.String(raw.Clone(b[:n]))
	if i == 0 {
		if typ != Reserved || name != "" {
			return fmt.Errorf("the first entry must be %v and without a name", Reserved)
		}
		m[0].Type = typ
		return nil
	}
	if typ != Block && typ != Net {
		return fmt.Errorf("%v (%#x), expected %v or %v", typ, uint32(typ), Block, Net)
	}
	if !alphanumeric(name) {
		return fmt.Errorf("name %q, expected one or more letters and digits", name)
	}
	for j := range m[:i] {
		if m[j].Type == typ && m[j].Name == name {
			return fmt.Errorf("%v %q is already declared by entry %d", typ, name, j)
		}
	}
	m[i].Name, m[i].Type = name, typ
	return nil
}

func alphanumeric(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}

func manifestErrorf(format string, args ...any) error {
	return fmt.Errorf("Solo5 manifest is invalid: "+format, args...)
}

// ValidName reports whether a device of a manifest can have this name.
func ValidName(name string) bool { return len(name) <= MaxName && alphanumeric(name) }
