// Package abi has the numbers of Solo5's interface between a unikernel and its
// tender, those that gocat adds, and the few of Linux and KVM that package unix
// lacks. It has only constants, because the library kernel of Go guests, which gets
// a copy of this package's source, and assembler (by go_asm.h) use them too.
package abi

// Targets (enum abi_target of Solo5's elf_abi.h).
const (
	TargetHVT    = 1
	TargetSPT    = 2
	TargetVirtio = 3
	TargetMuen   = 4
	TargetGenode = 5
	TargetXen    = 6
)

// Notes of an image: types, and sizes in bytes of what follows the name
// (elf_abi.h, mft_abi.h).
const (
	NoteABI1        = 0x31494241 // "ABI1": target, version, two reserved words
	NoteABI1Size    = 16
	NoteABI1MaxSize = 32         // ABI1_NOTE_MAX_SIZE
	NoteMFT1        = 0x3154464d // "MFT1": the manifest, aligned to 8 within the note
	NoteMFT1Pad     = 4

	// gocat's own, which Solo5's tenders do not look at: an address each.
	NoteFLT1    = 0x31544c46 // "FLT1": handler of the guest's faults
	NoteTMR1    = 0x31524d54 // "TMR1": TimerSize bytes that a timer shares
	NoteSIG1    = 0x31474953 // "SIG1": SignalsSize bytes where signals are told
	NoteRNG1    = 0x31474e52 // "RNG1": RingWordSize bytes where the network ring's address is told; hvt
	NoteGEN1    = 0x314e4547 // "GEN1": GenerationSize bytes that tell clones apart
	NoteSEL1    = 0x314c4553 // "SEL1": text about a sealed guest
	NoteOwnSize = 8
)

// What a guest shares with its timer: offsets of words of 32 bits, in bytes.
const (
	TimerMasked = 0 // 0 where the guest may be interrupted
	TimerPeriod = 4 // between two ticks, in microseconds; the tender's
	TimerSize   = 8
	SignalsSize = 4

	RingWordSize = 8
)

// What a guest that knows of its clones shares with its tender: offsets and sizes in
// bytes.
const (
	GenerationID      = 0  // two words of 64 bits: 0 in the original, random in a clone
	GenerationRequest = 16 // where a wait that asks for a snapshot has its buffer, or for hvt its arguments
	GenerationSize    = 48
	GenerationIDSize  = 16
)

// Guest addresses.
const (
	MinAddr = 0x100000 // HVT_GUEST_MIN_BASE, SPT_GUEST_MIN_BASE: of the image
	LowAddr = 0x10000  // SPT_HOST_MEM_BASE; hvt guests have boot info there
)

// CmdlineSize is the room for a guest's command line with its NUL, in bytes
// (HVT_CMDLINE_SIZE, SPT_CMDLINE_SIZE).
const CmdlineSize = 8192

// Types of devices (enum mft_type of mft_abi.h).
const (
	DeviceBlock    = 1       // MFT_DEV_BLOCK_BASIC
	DeviceNet      = 2       // MFT_DEV_NET_BASIC
	DeviceReserved = 1 << 30 // MFT_RESERVED_FIRST: entry 0 only
)

// Layout of the manifest, struct mft and struct mft_entry (mft_abi.h): sizes and
// offsets in bytes.
const (
	ManifestVersion = 1
	ManifestEntries = 4 // u32, after the version
	ManifestHeader  = 8

	MaxEntries = 64 // MFT_MAX_ENTRIES
	MaxName    = 67 // MFT_NAME_MAX

	EntrySize      = 104
	EntryName      = 0
	EntryType      = 68 // u32
	EntryCapacity  = 72 // of a block device: u64
	EntryBlockSize = 80 // of a block device: u16
	EntryMAC       = 72 // of a network device: 6 bytes
	EntryMTU       = 78 // of a network device: u16
	EntryHostFD    = 88 // i32
	EntryAttached  = 96 // bool
)

// Results (solo5_result_t of solo5.h).
const (
	ResultOK      = 0
	ResultAgain   = 1
	ResultInvalid = 2 // SOLO5_R_EINVAL
	ResultUnspec  = 3 // SOLO5_R_EUNSPEC
)
