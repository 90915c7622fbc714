package kernel

import "unsafe"

// Under hvt the guest has exceptions of its own: those that Go programs cause
// and recover from become panics, as signals do on Linux. Under spt gocat has the
// host kernel call gocatFault (its assembler) with them; under Solo5's own tender
// the host kernel kills the guest.

// Exceptions that are handled, by vector.
const (
	vectorDE   = 0  // division
	vectorGP   = 13 // among others, an address that is not canonical
	vectorPF   = 14 // a page fault: without memory at the address
	vectorTick = 32 // the timer
	vectors    = vectorTick + 1
)

// Tables of the processor (Intel SDM vol. 3, chapters 3, 6 and 8).
const (
	codeSelector = 1 << 3 // the index that the tender's own table has it at
	taskSelector = 3 << 3
	codeSegment  = 0x00af9b000000ffff // 64-bit code, accessed
	dataSegment  = 0x00cf93000000ffff
	taskSize     = 104
	taskPresent  = 0x89 << 40 // a 64-bit TSS that is not busy
	gatePresent  = 0x8e << 40 // an interrupt gate
	stackEntry   = 36         // offset of the first interrupt stack in a TSS
	trapStack    = 4096       // bytes: the frame and a few registers
)

var (
	segments [5]uint64
	gates    [vectors * 2]uint64
	task     [taskSize / 4]uint32
	tables   [2][5]uint16 // limit and address, as LGDT and LIDT take them
	trapped  [trapStack]byte
)

// setTraps makes the exceptions and the timer call the handlers, whose addresses
// are given.
func setTraps(de, gp, pf, tick uintptr) {
	stack := uint64(uintptr(unsafe.Pointer(&trapped[0]))+trapStack) &^ 15
	task[stackEntry/4], task[stackEntry/4+1] = uint32(stack), uint32(stack>>32)
	task[taskSize/4-1] = taskSize << 16 // no I/O bitmap
	base := uint64(uintptr(unsafe.Pointer(&task[0])))
	segments = [5]uint64{0, codeSegment, dataSegment,
		taskSize - 1 | base&0xffffff<<16 | taskPresent | base>>24&0xff<<56, base >> 32}
	setGate(vectorDE, de)
	setGate(vectorGP, gp)
	setGate(vectorPF, pf)
	setGate(vectorTick, tick)
	loadTables(pseudo(&tables[0], address64(&segments[0]), unsafe.Sizeof(segments)), taskSelector,
		pseudo(&tables[1], address64(&gates[0]), unsafe.Sizeof(gates)))
}

// pseudo makes table the descriptor of a table at base and returns its address.
func pseudo(table *[5]uint16, base, size uintptr) uintptr {
	table[0] = uint16(size - 1)
	for i := 1; i < len(table); i++ {
		table[i] = uint16(base >> (16 * (i - 1)))
	}
	return uintptr(unsafe.Pointer(&table[0]))
}

// setGate points a vector at a handler, on the first interrupt stack: a
// goroutine's own may have no room.
func setGate(vector int, handler uintptr) {
	h := uint64(handler)
	gates[2*vector] = h&0xffff | codeSelector<<16 | 1<<32 | gatePresent | h>>16&0xffff<<48
	gates[2*vector+1] = h >> 32
}

// Fault ends the guest after an exception that is the kernel's own or comes
// before there are goroutines.
//
//go:linkname Fault
func Fault(rip uintptr) {
	const message = "library kernel: exception at "
	var line [len(message) + 17]byte
	copy(line[:], message)
	for i := range 16 {
		line[len(message)+i] = "0123456789abcdef"[rip>>(60-4*i)&15]
	}
	line[len(line)-1] = '\n'
	consoleWrite(addressOf(&line[0]), uintptr(len(line)))
	exit(255)
}
