// Package x86 describes a guest's processor state, for debuggers, core files and
// everything else that examines a guest.
package x86

import "encoding/binary"

// Registers are a guest's.
type Registers struct {
	General        [16]uint64 // in the order of the constants RAX to R15
	RIP, Flags     uint64
	CS, SS, DS, ES uint16
	FS, GS         uint16
	FSBase, GSBase uint64
	Extended       Extended
}

// Indexes into Registers.General: the order in which GDB and DWARF's users in GDB
// list them.
const (
	RAX = iota
	RBX
	RCX
	RDX
	RSI
	RDI
	RBP
	RSP
	R8
	R9
	R10
	R11
	R12
	R13
	R14
	R15
)

// Extended is the state of the FPU, SSE and AVX as XSAVE stores it in its
// standard form: the legacy area, the header, the upper halves of the AVX
// registers.
type Extended [ExtendedSize]byte

// Sizes and offsets in bytes of an XSAVE area (Intel SDM volume 1, 13.4).
const (
	MXCSROffset  = 24
	STOffset     = 32
	XMMOffset    = 160
	LegacySize   = 512 // what FXSAVE stores
	AVXOffset    = 576
	ExtendedSize = AVXOffset + 16*16
)

// Bits of XCR0 and of XSTATE_BV, the first word of an XSAVE area's header.
const (
	StateFPU = 1 << 0
	StateSSE = 1 << 1
	StateAVX = 1 << 2
)

// Has reports whether a state is stored; one that is not is as after a reset.
func (e *Extended) Has(state uint64) bool {
	return binary.LittleEndian.Uint64(e[LegacySize:])&state != 0
}

// Mark says that a state is stored.
func (e *Extended) Mark(state uint64) {
	header := e[LegacySize:]
	binary.LittleEndian.PutUint64(header, binary.LittleEndian.Uint64(header)|state)
}
