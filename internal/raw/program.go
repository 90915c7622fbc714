package raw

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ProgramHeader is Elf64_Phdr.
type ProgramHeader struct {
	Type, Flags                                    uint32
	Offset, Vaddr, Paddr, Filesz, Memsz, Alignment uint64
}

// ProgramHeaders returns those of the program, which the kernel has mapped, none if
// the process has started ordinarily.
func ProgramHeaders() []ProgramHeader {
	const atPHDR, atPHNUM = 3, 5
	return HeadersAt(Auxiliary(atPHDR), Auxiliary(atPHNUM))
}

// HeadersAt returns the n program headers at an address, none if that is 0.
func HeadersAt(at, n uintptr) []ProgramHeader {
	if at == 0 || n > 64 {
		return nil
	}
	size := unsafe.Sizeof(ProgramHeader{})
	return unsafe.Slice((*ProgramHeader)(unsafe.Pointer(unsafe.SliceData(At(at, int(n*size))))), n)
}

// Of program headers (elf.h).
const (
	ptLoad = 1
	pfW    = 2
)

const pageSize = 4096

// data are the whole pages of the program's initialised variables, where they are
// protected.
var data []byte

// protectData keeps the program's initialised variables from being changed, as
// nothing on the way of an early start does: Unload may give them back.
func protectData() {
	headers := ProgramHeaders()
	for i := range headers {
		h := &headers[i]
		if h.Type != ptLoad || h.Flags&pfW == 0 {
			continue
		}
		start, end := (h.Vaddr+pageSize-1)&^(pageSize-1), (h.Vaddr+h.Filesz)&^(pageSize-1)
		if start >= end {
			continue
		}
		b := At(uintptr(start), int(end-start))
		if Mprotect(b, unix.PROT_READ) == nil {
			data = b
		}
	}
}

// unprotectData undoes protectData. Like undo it does without a check of the stack.
//
//go:nosplit
func unprotectData() {
	if data != nil {
		Syscall6(unix.SYS_MPROTECT, uintptr(unsafe.Pointer(unsafe.SliceData(data))), uintptr(len(data)), unix.PROT_READ|unix.PROT_WRITE, 0, 0, 0)
		data = nil
	}
}

// Unload gives back the memory of code, constants and initialised variables. The
// kernel maps again, from its cache, what is still used: the code that serves a
// guest is a small part of the program, most of which has run once.
func Unload() {
	var constant [8][]byte
	n := 0
	headers := ProgramHeaders()
	for i := range headers {
		h := &headers[i]
		if h.Type == ptLoad && h.Flags&pfW == 0 && h.Memsz > 0 && n < len(constant) {
			start := h.Vaddr &^ (pageSize - 1)
			constant[n] = At(uintptr(start), int(h.Memsz+h.Vaddr-start))
			n++
		}
	}
	if data != nil {
		Madvise(data, unix.MADV_DONTNEED)
	}
	for n > 0 { // the code last
		n--
		Madvise(constant[n], unix.MADV_DONTNEED)
	}
}
