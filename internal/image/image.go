// Package image reads and writes Solo5 unikernel images: the ELF executable,
// its ABI1 note (which tender it is for) and its MFT1 note (the manifest of
// devices it wants).
//
// Everything it reads is hostile. Parse bounds every number before it is used,
// reads every byte once, and never panics.
package image

import (
	"fmt"
	"strconv"

	"gocat/internal/abi"
)

// Target is the tender that an image is built for: abi_target of the ABI1 note
// (Solo5 elf_abi.h).
type Target uint32

// The targets that gocat tends.
const (
	HVT Target = abi.TargetHVT // hardware virtualised (KVM)
	SPT Target = abi.TargetSPT // sandboxed process tender (seccomp)
)

// String returns the name that Solo5's tools give to t, also for the targets
// that gocat does not tend.
func (t Target) String() string {
	switch t {
	case HVT:
		return "hvt"
	case SPT:
		return "spt"
	case abi.TargetVirtio:
		return "virtio"
	case abi.TargetMuen:
		return "muen"
	case abi.TargetGenode:
		return "genode"
	case abi.TargetXen:
		return "xen"
	}
	return "unknown target " + strconv.FormatUint(uint64(t), 10)
}

// Prot is a segment's protection, in the bits of p_flags (ELF PF_X, PF_W, PF_R).
type Prot uint32

// Protection bits.
const (
	X Prot = 1
	W Prot = 2
	R Prot = 4
)

// String returns p as in /proc/PID/maps: "r-x".
func (p Prot) String() string {
	b := []byte("---")
	if p&R != 0 {
		b[0] = 'r'
	}
	if p&W != 0 {
		b[1] = 'w'
	}
	if p&X != 0 {
		b[2] = 'x'
	}
	return string(b)
}

// Segment is one PT_LOAD that occupies guest memory. Start and End are rounded by
// p_align, which may exceed a page; Prot applies to all of that range.
type Segment struct {
	Index  int    // number of the program header, for messages
	Start  uint64 // guest address of the first page, page-aligned
	End    uint64 // guest address past the last page, page-aligned
	Vaddr  uint64 // guest address of the first byte that comes from the file; Start <= Vaddr
	Offset uint64 // file offset of that byte; any alignment, and of no meaning when Filesz is 0
	Filesz uint64 // bytes from the file; the rest up to End is zero
	Memsz  uint64 // bytes in memory from Vaddr; Filesz <= Memsz
	Prot   Prot   // never W and X together
}

// Image is what a tender needs to know of a unikernel image. Segment contents
// stay in the file.
type Image struct {
	Target   Target
	Version  uint32 // ABI version, 1 or 2
	Entry    uint64 // guest address, inside an executable segment
	End      uint64 // guest address past the last segment, page-aligned: the ABI's kernel_end
	Segments []Segment
	Manifest Manifest
	// Fault is the guest address of a handler of signals, in an executable
	// segment, or 0: gocat's spt tender has SIGSEGV and SIGFPE call it, and with
	// Timer SIGVTALRM (note FLT1 of gocat's own).
	Fault uint64
	// Timer is the guest address of TimerSize bytes, in a writable segment, that
	// a guest shares with the tender, which has a timer interrupt it, or 0 (note
	// TMR1 of gocat's own). An spt guest has a Fault as well.
	Timer uint64
	// Signals is the guest address of SignalsSize bytes, in a writable segment, or
	// 0: SIGTERM and SIGINT are told there for the first time, signal n as bit n-1,
	// and end the guest for the second (note SIG1 of gocat's own). An spt guest has
	// a Fault as well, which is what tells it.
	Signals uint64
	// Ring is the guest address of RingWordSize bytes, in a writable segment, where
	// the address of the network ring is told, or 0: an hvt guest that has several
	// frames sent or received in one exit (note RNG1 of gocat's own).
	Ring uint64
	// Generation is the guest address of GenerationSize bytes, in a writable segment, or
	// 0: the first 16 are zero until the guest is started from a snapshot, and differ in
	// each clone (note GEN1 of gocat's own).
	Generation uint64

	sections Range // where the file says that its section headers are
}

// RingWordSize is how much memory the network ring's address takes, in bytes.
const RingWordSize = abi.RingWordSize

// GenerationSize is how much memory a generation takes, in bytes.
const GenerationSize = abi.GenerationSize

// SignalsSize is how much memory the signals from outside take, in bytes.
const SignalsSize = abi.SignalsSize

// TimerSize is how much memory a timer shares, in bytes.
const TimerSize = abi.TimerSize

// MinAddr is the lowest guest address a segment may occupy (Solo5
// HVT_GUEST_MIN_BASE, SPT_GUEST_MIN_BASE).
const MinAddr = abi.MinAddr

// PageSize is the architecture's page size in bytes.
const PageSize = 4096

// MB is the unit in bytes in which guest memory is given.
const MB = 1 << 20

// headroom is the least memory past its segments with which Solo5's bindings
// start (mem_init in bindings/mem.c).
const headroom = 512 << 10

// MemoryError says that an image does not fit into a guest's memory.
type MemoryError struct {
	End    uint64 // guest address past the last segment
	Memory uint64 // the guest's, in bytes
	Need   uint64 // bytes with which Solo5's bindings start, a multiple of 2 MB; 0 if there is no such size
}

func (e *MemoryError) Error() string {
	given := strconv.FormatUint(e.Memory/MB, 10)
	if e.Memory%MB != 0 {
		given = strconv.FormatFloat(float64(e.Memory)/MB, 'f', 2, 64)
	}
	if e.Need == 0 {
		return fmt.Sprintf("image ends at %#x, which no guest memory reaches: the guest has %s MB", e.End, given)
	}
	return fmt.Sprintf("image ends at %#x, past the guest's memory of %s MB", e.End, given)
}

// CheckMemory says whether every segment lies below size, a guest's memory in
// bytes: the error is a *MemoryError.
func (m *Image) CheckMemory(size uint64) error {
	if m.End <= size {
		return nil
	}
	e := &MemoryError{End: m.End, Memory: size}
	if m.End <= 1<<63 {
		const unit = 2 * MB // hvt takes multiples of it
		e.Need = (m.End + headroom + unit - 1) / unit * unit
	}
	return e
}
