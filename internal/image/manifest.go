package image

// DeviceType is the type of a manifest entry (Solo5 mft_abi.h).
type DeviceType uint32

// Device types.
const (
	Block    DeviceType = 1       // MFT_DEV_BLOCK_BASIC
	Net      DeviceType = 2       // MFT_DEV_NET_BASIC
	Reserved DeviceType = 1 << 30 // MFT_RESERVED_FIRST: entry 0 only
)

// MaxEntries is the most entries a manifest may have, entry 0 included.
const MaxEntries = 64

// Manifest lists the devices a guest declares. The index of an entry is the
// device's handle; entry 0 is always the reserved one.
type Manifest []Entry

// Entry is one manifest entry. An image supplies Name and Type; a tender fills
// in the rest when it attaches the device.
type Entry struct {
	Name string // at most 67 bytes, without NUL; letters and digits by Solo5's rules
	Type DeviceType

	Capacity  uint64  // Block: bytes
	BlockSize uint16  // Block: bytes, a power of two >= 512
	MAC       [6]byte // Net
	MTU       uint16  // Net: bytes, without the Ethernet header
	HostFD    int32   // spt: the descriptor that the guest uses; 0 elsewhere
	Attached  bool
}
