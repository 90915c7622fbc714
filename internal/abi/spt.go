package abi

// SPTBootAddr is where struct spt_boot_info lies, and after it the manifest and
// the command line (SPT_BOOT_INFO_BASE of spt_abi.h).
const SPTBootAddr = 0x11000

// Layout of struct spt_boot_info: offsets in bytes.
const (
	SPTBootMemory    = 0  // u64, bytes
	SPTBootKernelEnd = 8  // u64, address
	SPTBootCmdline   = 16 // u64, address
	SPTBootManifest  = 24 // u64, address
	SPTBootEpollFD   = 32 // i32
	SPTBootTimerFD   = 36 // i32
	SPTBootSize      = 40
)

// TimerHandle is the epoll data of the timer; that of a device is its handle
// (SPT_INTERNAL_TIMERFD).
const TimerHandle = 0xfffffffe
