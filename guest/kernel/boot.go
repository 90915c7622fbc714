package kernel

import (
	_ "unsafe" // for linkname

	"gocat/internal/abi"
)

// What the boot information says (Solo5 hvt_abi.h, spt_abi.h).
var (
	bootMemory uintptr // size of the guest's memory in bytes
	manifest   uintptr // address of struct mft
	devices    uint64  // entries in it
	cmdline    uintptr // address of the command line, NUL-terminated
	stackTop   uintptr
	cycleHz    uint64  // hvt: frequency of the time stamp counter
	bootHz     uintptr // where the tender says it
	epollFD    uint64  // spt
)

// startTime is when the program began, of the monotonic clock.
var startTime int64

// timerFD is the descriptor of an spt guest's timer.
//
//go:linkname timerFD
var timerFD uint64

const maxDevices = abi.MaxEntries

// firstStackSize is the memory that is set aside at the top for the first
// thread's stack, in bytes. Go's runtime assumes 64 KiB; what Linux puts on a
// stack is less than 32 KiB here.
const firstStackSize = 256 << 10

func readBoot(boot, stack uintptr) {
	bootMemory = uintptr(load64(boot + abi.SPTBootMemory)) // both targets begin alike
	end := uintptr(load64(boot + abi.SPTBootKernelEnd))
	if Target == targetHVT {
		bootHz = boot + abi.HVTBootCycles
		cycleHz = load64(bootHz)
		cmdline = uintptr(load64(boot + abi.HVTBootCmdline))
		manifest = uintptr(load64(boot + abi.HVTBootManifest))
	} else {
		cmdline = uintptr(load64(boot + abi.SPTBootCmdline))
		manifest = uintptr(load64(boot + abi.SPTBootManifest))
		epollFD = uint64(load32(boot + abi.SPTBootEpollFD))
		timerFD = uint64(load32(boot + abi.SPTBootTimerFD))
		SptReady = 1
	}
	devices = uint64(min(load32(manifest+abi.ManifestEntries), maxDevices))
	stackTop = min(stack, bootMemory) &^ (pageSize - 1)
	memory.n = 0
	memory.base, memory.limit = pageUp(end), stackTop-firstStackSize
	if memory.base > memory.limit { // the program will say so when it finds no memory
		memory.limit = memory.base
	}
	resetGeneration()
	startClocks()
	startTime = monotonic()
	findRandom()
}

// entry is the address of a device's entry in the manifest.
func entry(handle uint64) uintptr {
	return manifest + abi.ManifestHeader + uintptr(handle)*abi.EntrySize
}

// device returns the handle of the device of that name, or 0.
func device(name []byte) uint64 {
	for h := uint64(1); h < devices; h++ {
		if same(name, entry(h)+abi.EntryName) {
			return h
		}
	}
	return 0
}

// same compares name with the NUL-terminated string at addr.
func same(name []byte, addr uintptr) bool {
	if len(name) > abi.MaxName {
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
	return load32(entry(handle) + abi.EntryType)
}
