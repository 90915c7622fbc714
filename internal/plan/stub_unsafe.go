package plan

//lint:file-ignore U1000 the functions in stub_amd64.s know one another

import "unsafe"

// In stub_amd64.s. Only stubText is ever called in this process.
func stub()
func stubEnd()
func stubText() (addr unsafe.Pointer, size uintptr)

// Stub returns the machine code that carries out a plan, whose entry point is its
// first instruction. The code is the program's own text: it is valid for ever and
// must not be written to.
func Stub() []byte {
	addr, size := stubText()
	return unsafe.Slice((*byte)(addr), size)
}

// CallEnd is the offset in the stub of what follows the instruction that makes a
// plan's calls: the stub's first SYSCALL.
func CallEnd() uint64 {
	code := Stub()
	n := 2
	for code[n-2] != 0x0f || code[n-1] != 0x05 {
		n++
	}
	return uint64(n)
}
