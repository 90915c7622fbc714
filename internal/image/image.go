// Package image reads and writes Solo5 unikernel images: the ELF executable,
// its ABI1 note (which tender it is for) and its MFT1 note (the manifest of
// devices it wants).
//
// Everything it reads is hostile. Parse bounds every number before it is used,
// reads every byte once, and never panics.
package image

// Target is the tender that an image is built for: abi_target of the ABI1 note
// (Solo5 elf_abi.h).
type Target uint32

// The targets that gocat tends.
const (
	HVT Target = 1 // hardware virtualised (KVM)
	SPT Target = 2 // sandboxed process tender (seccomp)
)

// Prot is a segment's protection, in the bits of p_flags (ELF PF_X, PF_W, PF_R).
type Prot uint32

// Protection bits.
const (
	X Prot = 1
	W Prot = 2
	R Prot = 4
)

// Segment is one PT_LOAD that occupies guest memory.
type Segment struct {
	Index  int    // number of the program header, for messages
	Start  uint64 // guest address of the first page, page-aligned
	End    uint64 // guest address past the last page, page-aligned
	Vaddr  uint64 // guest address of the first byte that comes from the file; Start <= Vaddr
	Offset uint64 // file offset of that byte
	Filesz uint64 // bytes from the file; the rest up to End is zero
	Memsz  uint64 // bytes in memory from Vaddr; Filesz <= Memsz
	Prot   Prot   // never W and X together
}

// Image is what a tender needs to know of a unikernel image. Segment contents
// stay in the file.
type Image struct {
	Target   Target
	Version  uint32 // ABI version, 1 or 2
	Entry    uint64 // guest address
	End      uint64 // guest address past the last segment, page-aligned: the ABI's kernel_end
	Segments []Segment
	Manifest Manifest
}

// MinAddr is the lowest guest address a segment may occupy (Solo5
// HVT_GUEST_MIN_BASE, SPT_GUEST_MIN_BASE).
const MinAddr = 0x100000

// PageSize is the architecture's page size in bytes.
const PageSize = 4096
