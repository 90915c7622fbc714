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
)

// Target is the tender that an image is built for: abi_target of the ABI1 note
// (Solo5 elf_abi.h).
type Target uint32

// The targets that gocat tends.
const (
	HVT Target = 1 // hardware virtualised (KVM)
	SPT Target = 2 // sandboxed process tender (seccomp)
)

// String returns the name that Solo5's tools give to t, also for the targets
// that gocat does not tend.
func (t Target) String() string {
	switch t {
	case HVT:
		return "hvt"
	case SPT:
		return "spt"
	case 3:
		return "virtio"
	case 4:
		return "muen"
	case 5:
		return "genode"
	case 6:
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
// p_align, which may exceed a page; Prot holds for all of that range.
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
	// Fault is the guest address of a handler of faults, in an executable
	// segment, or 0: gocat's spt tender has SIGSEGV and SIGFPE call it (note
	// FLT1 of gocat's own).
	Fault uint64
	// Timer is the guest address of TimerSize bytes, in a writable segment, that
	// a guest shares with gocat's hvt tender, which has a timer interrupt it, or
	// 0 (note TMR1 of gocat's own).
	Timer uint64
}

// TimerSize is how much memory a timer shares: a word of 32 bits that is 0 where
// the guest may be interrupted, and one for the tender's period in microseconds.
const TimerSize = 8

// MinAddr is the lowest guest address a segment may occupy (Solo5
// HVT_GUEST_MIN_BASE, SPT_GUEST_MIN_BASE).
const MinAddr = 0x100000

// PageSize is the architecture's page size in bytes.
const PageSize = 4096

// MB is the unit of --mem in bytes.
const MB = 1 << 20

// headroom is the least memory past its segments with which Solo5's bindings
// start (mem_init in bindings/mem.c).
const headroom = 512 << 10

// CheckMemory says whether every segment lies below size, a guest's memory in
// bytes. The error names the smallest --mem that does; it is even, because hvt
// takes multiples of 2 MB.
func (m *Image) CheckMemory(size uint64) error {
	if m.End <= size {
		return nil
	}
	given := strconv.FormatUint(size/MB, 10)
	if size%MB != 0 {
		given = strconv.FormatFloat(float64(size)/MB, 'f', 2, 64)
	}
	const unit = 2 * MB
	if m.End > 1<<63 {
		return fmt.Errorf("image ends at %#x, which no guest memory reaches: the guest has %s MB", m.End, given)
	}
	need := (m.End + headroom + unit - 1) / unit * 2
	return fmt.Errorf("image ends at %#x, past the guest's memory of %s MB: give at least --mem=%d",
		m.End, given, need)
}
