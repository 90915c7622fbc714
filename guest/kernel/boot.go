package kernel

// What the boot information says (Solo5 hvt_abi.h, spt_abi.h).
var (
	bootMemory uintptr // size of the guest's memory in bytes
	manifest   uintptr // address of struct mft
	devices    uint64  // entries in it
	cmdline    uintptr // address of the command line, NUL-terminated
	stackTop   uintptr
	cycleHz    uint64 // hvt: frequency of the time stamp counter
	epollFD    uint64 // spt
	timerFD    uint64 // spt
)

// Offsets in struct mft and its entries (Solo5 mft_abi.h).
const (
	maxDevices    = 64
	mftEntries    = 4
	mftHeader     = 8
	mftEntry      = 104
	entryName     = 0
	maxName       = 67
	entryType     = 68
	entryCapacity = 72
	entryBlock    = 80
	entryHostFD   = 88

	typeBlock = 1
	typeNet   = 2
)

// firstStackSize is the memory that is set aside at the top for the first
// thread's stack, in bytes. Go's runtime takes 64 KiB for granted; what Linux
// puts on a stack is less than 32 KiB here.
const firstStackSize = 256 << 10

func readBoot(boot, stack uintptr) {
	bootMemory = uintptr(load64(boot))
	end := uintptr(load64(boot + 8))
	if Target == targetHVT {
		cycleHz = load64(boot + 16)
		boot += 8
	}
	cmdline = uintptr(load64(boot + 16))
	manifest = uintptr(load64(boot + 24))
	if Target == targetSPT {
		epollFD = uint64(load32(boot + 32))
		timerFD = uint64(load32(boot + 36))
	}
	devices = uint64(min(load32(manifest+mftEntries), maxDevices))
	stackTop = min(stack, bootMemory) &^ (pageSize - 1)
	memory.n = 0
	memory.base, memory.limit = pageUp(end), stackTop-firstStackSize
	if memory.base > memory.limit { // the program will say so when it finds no memory
		memory.limit = memory.base
	}
	startClocks()
	findRandom()
}

// entry is the address of a device's entry in the manifest.
func entry(handle uint64) uintptr { return manifest + mftHeader + uintptr(handle)*mftEntry }

// device returns the handle of the device of that name, or 0.
func device(name []byte) uint64 {
	for h := uint64(1); h < devices; h++ {
		if same(name, entry(h)+entryName) {
			return h
		}
	}
	return 0
}

// same compares name with the NUL-terminated string at addr.
func same(name []byte, addr uintptr) bool {
	if len(name) > maxName {
		return false
	}
	for i := range name {
		if load8(addr+uintptr(i)) != name[i] {
			return false
		}
	}
	return load8(addr+uintptr(len(name))) == 0
}

func deviceType(handle uint64) uint32 {
	if handle == 0 || handle >= devices {
		return 0
	}
	return load32(entry(handle) + entryType)
}
