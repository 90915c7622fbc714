package kvmhvt

import "gocat/internal/abi"

// The guest's view (Solo5 hvt_abi.h, tenders/hvt/hvt_cpu_x86_64.h): addresses
// and sizes in bytes.
const (
	lowStart     = abi.LowAddr // below it nothing is mapped
	bootInfoAddr = lowStart    // struct hvt_boot_info, then manifest, then command line
	minBase      = abi.MinAddr // HVT_GUEST_MIN_BASE: low memory below is read-only to the guest
	blockSize    = 2 << 20     // guest memory is a multiple of this

	maxMemory   = 4 << 30 // hypercall arguments are 32-bit addresses
	maxMemoryV1 = 1 << 30 // ABI 1: the guest's tables had one page directory
)

// Ports that a guest writes to (HVT_HYPERCALL_PIO_BASE, HVT_RING_KICK_PIO_BASE).
const (
	portHypercall = abi.HypercallPort
	portKick      = abi.RingPort
)

// Hypercalls (enum hvt_hypercall): a 32-bit write of the argument structure's
// address to port portHypercall + number.
const (
	hcWalltime   = abi.Walltime
	hcPuts       = abi.Puts
	hcPoll       = abi.Poll
	hcBlockWrite = abi.BlockWrite
	hcBlockRead  = abi.BlockRead
	hcNetWrite   = abi.NetWrite
	hcNetRead    = abi.NetRead
	hcHalt       = abi.Halt
	hcMax        = abi.Hypercalls
)

// Results (solo5_result_t of solo5.h).
const (
	resultOK     = abi.ResultOK
	resultAgain  = abi.ResultAgain
	resultEINVAL = abi.ResultInvalid
	resultEUnspc = abi.ResultUnspec
)

// haltCookieMax is the space that a halt cookie must have (HVT_HALT_COOKIE_MAX).
const haltCookieMax = abi.HaltCookieMax

// Bits of host_features in the boot info.
const (
	featureRing       = abi.FeatureRing
	featureFullWrites = abi.FeatureFullWrites
)
