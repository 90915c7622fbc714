package kvmhvt

// The guest's view (Solo5 hvt_abi.h, tenders/hvt/hvt_cpu_x86_64.h): addresses
// and sizes in bytes.
const (
	lowStart     = 0x10000  // below it nothing is mapped
	bootInfoAddr = lowStart // struct hvt_boot_info, then manifest, then command line
	minBase      = 0x100000 // HVT_GUEST_MIN_BASE: low memory below is read-only to the guest
	blockSize    = 2 << 20  // guest memory is a multiple of this

	maxMemory   = 4 << 30 // hypercall arguments are 32-bit addresses
	maxMemoryV1 = 1 << 30 // ABI 1: the guest's tables had one page directory

	cmdlineSize = 8192 // HVT_CMDLINE_SIZE, with the terminating NUL
)

// Ports that a guest writes to (HVT_HYPERCALL_PIO_BASE, HVT_RING_KICK_PIO_BASE).
const (
	portHypercall = 0x500
	portKick      = 0x600
)

// Hypercalls (enum hvt_hypercall): a 32-bit write of the argument structure's
// address to port portHypercall + number.
const (
	hcWalltime = 1 + iota
	hcPuts
	hcPoll
	hcBlockWrite
	hcBlockRead
	hcNetWrite
	hcNetRead
	hcHalt
	hcMax
)

// Results (solo5_result_t of solo5.h).
const (
	resultOK     = 0
	resultAgain  = 1
	resultEINVAL = 2
	resultEUnspc = 3
)

// haltCookieMax is the space that a halt cookie must have (HVT_HALT_COOKIE_MAX).
const haltCookieMax = 512

// Bits of host_features in the boot info.
const (
	featureRing       = 1 << 0  // HVT_FEATURE_RING_IO
	featureFullWrites = 1 << 31 // gocat's own: guest.FeatureFullWrites
)
