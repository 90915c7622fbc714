package kvmhvt

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Entries of the auxiliary vector and of program headers (elf.h).
const (
	atPHDR  = 3
	atPHNUM = 5

	ptLoad = 1
	ptPHDR = 6
	pfW    = 2
)

// programHeader is Elf64_Phdr.
type programHeader struct {
	typ, flags           uint32
	offset, vaddr, paddr uint64
	filesz, memsz, align uint64
}

// textRanges returns where the process's own code and constants are mapped.
func textRanges() (ranges [][]byte) {
	aux, err := unix.Auxv()
	if err != nil {
		return nil
	}
	var at, n uintptr
	for _, a := range aux {
		switch a[0] {
		case atPHDR:
			at = a[1]
		case atPHNUM:
			n = a[1]
		}
	}
	if at == 0 || n == 0 || n > 64 {
		return nil
	}
	// The kernel maps the headers, which are part of the executable.
	var base unsafe.Pointer
	*(*uintptr)(unsafe.Pointer(&base)) = at
	headers := unsafe.Slice((*programHeader)(base), n)
	bias := uint64(0) // of a position-independent executable
	for _, h := range headers {
		if h.typ == ptPHDR {
			bias = uint64(at) - h.vaddr
		}
	}
	for _, h := range headers {
		if h.typ == ptLoad && h.flags&pfW == 0 && h.memsz > 0 {
			var p unsafe.Pointer
			*(*uintptr)(unsafe.Pointer(&p)) = uintptr(bias + h.vaddr&^4095)
			ranges = append(ranges, unsafe.Slice((*byte)(p), h.memsz+h.vaddr&4095))
		}
	}
	return ranges
}

// dropText gives back the memory of code and constants. The kernel maps again,
// from its cache, what is still used: the code that serves a guest is a small
// part of a tender, most of which ran once.
func dropText() {
	for _, r := range textRanges() {
		unix.Madvise(r, unix.MADV_DONTNEED)
	}
}
