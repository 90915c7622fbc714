package abi

// Hypercalls (hvt_abi.h): a guest writes the 32-bit address of the arguments to
// port HypercallPort + number.
const (
	HypercallPort = 0x500 // HVT_HYPERCALL_PIO_BASE

	Walltime   = 1
	Puts       = 2
	Poll       = 3
	BlockWrite = 4
	BlockRead  = 5
	NetWrite   = 6
	NetRead    = 7
	Halt       = 8
	Hypercalls = 9 // past the last

	HaltCookieMax = 512 // HVT_HALT_COOKIE_MAX, in bytes
)

// Layout of struct hvt_boot_info (hvt_abi.h): offsets in bytes. It lies at LowAddr,
// and after it the manifest and the command line.
const (
	HVTBootMemory        = 0  // u64, bytes
	HVTBootKernelEnd     = 8  // u64, address
	HVTBootCycles        = 16 // u64, Hz of the time stamp counter
	HVTBootCmdline       = 24 // u64, address
	HVTBootManifest      = 32 // u64, address
	HVTBootFeatures      = 40 // u32, of the tender; since Solo5 0.11
	HVTBootGuestFeatures = 44 // u32, the guest's answer
	HVTBootRing          = 48 // u64, address of struct hvt_ring, or 0
	HVTBootSize          = 56
)

// Features of a tender.
const (
	FeatureRing = 1 << 0 // HVT_FEATURE_RING_IO

	// FeatureFullWrites is gocat's own: puts writes all that it is given, whatever
	// the console is connected to.
	FeatureFullWrites = 1 << 31
)

// RingPort wakes a tender that sleeps beside its network ring
// (HVT_RING_KICK_PIO_BASE).
const RingPort = 0x600

// The network ring, struct hvt_ring (hvt_ring.h, since Solo5 0.11): offsets and
// sizes in bytes. Each index counts up for ever and has one writer.
const (
	RingSlots   = 1024
	RingEntTail = 0  // u32, the guest's: requests made
	RingComHead = 4  // u32, the guest's: results taken
	RingEntHead = 64 // u32, the tender's: requests served
	RingComTail = 68 // u32, the tender's: results given
	RingKick    = 72 // u32, the tender's: it sleeps and wants RingPort written
	RingEntries = 128
	RingResults = RingEntries + RingSlots*RingEntrySize
	RingSize    = RingResults + RingSlots*RingResultSize

	RingEntrySize  = 32 // u32 operation, handle; u64 data; u32 len, id; u64
	RingResultSize = 16 // u32 id; i32 ret; u32 len; u32

	RingNetWrite = 1
	RingNetRead  = 2
)
