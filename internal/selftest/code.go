package selftest

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
)

// Registers as instructions number them.
const (
	rax = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
	r8
	r9
	r10
	r12 = 12
	r13 = 13
)

// mov is the instruction that sets a register.
func mov(reg byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0x48 | reg>>3, 0xb8 | reg&7}, v)
}

var (
	syscallCode = []byte{0x0f, 0x05}
	ret         = []byte{0xc3}
)

// execute adds a step that calls machine code and comes back at its end.
func execute(p *guests.Probe, code ...[]byte) {
	p.Do(p.Execute(guests.N(p.Code(slices.Concat(append(code, ret)...)))))
}

// walker is code that looks at one byte each stride of memory, by writing it on
// the standard output: what is mapped is printed, what is not does no harm.
func walker(from, to, stride uint64) []byte {
	code := slices.Concat(mov(r12, from), mov(r13, to))
	loop := len(code)
	code = slices.Concat(code, mov(rdi, 1), []byte{0x4c, 0x89, 0xe6}, // mov rsi, r12
		mov(rdx, 1), mov(rax, unix.SYS_WRITE), syscallCode,
		mov(rax, stride), []byte{0x49, 0x01, 0xc4, // add r12, rax
			0x4d, 0x39, 0xec, 0x0f, 0x85}) // cmp r12, r13; jne loop
	return binary.LittleEndian.AppendUint32(code, uint32(loop-len(code)-4))
}

// wanderer is code that looks, as walker does, at n places all over the lower
// half of the address space above 4 GiB: multiples of a large odd number.
func wanderer(n uint64) []byte {
	code := slices.Concat(mov(r12, 0), mov(r13, n))
	loop := len(code)
	code = slices.Concat(code,
		mov(rax, 0x9e3779b97f4a7c15), []byte{0x49, 0x01, 0xc4, // add r12, rax
			0x4c, 0x89, 0xe6, // mov rsi, r12
			0x48, 0xc1, 0xee, 0x11, // shr rsi, 17
			0x48, 0x0f, 0xba, 0xee, 0x20}, // bts rsi, 32
		mov(rdi, 1), mov(rdx, 1), mov(rax, unix.SYS_WRITE), syscallCode,
		[]byte{0x49, 0xff, 0xcd, 0x0f, 0x85}) // dec r13; jnz loop
	return binary.LittleEndian.AppendUint32(code, uint32(loop-len(code)-4))
}

// dumper is code that prints all of memory from from to to that is mapped, page
// by page.
func dumper(from, to uint64) []byte {
	const page = 4096
	code := slices.Concat(mov(r12, from), mov(r13, to))
	loop := len(code)
	code = slices.Concat(code, mov(rdi, 1), []byte{0x4c, 0x89, 0xe6}, // mov rsi, r12
		mov(rdx, page), mov(rax, unix.SYS_WRITE), syscallCode,
		mov(rax, page), []byte{0x49, 0x01, 0xc4, 0x4d, 0x39, 0xec, 0x0f, 0x85})
	return binary.LittleEndian.AppendUint32(code, uint32(loop-len(code)-4))
}

// toucher is code that writes to each page from from up to to.
func toucher(from, to uint64) []byte {
	code := slices.Concat(mov(r12, from), mov(r13, to))
	loop := len(code)
	code = slices.Concat(code, []byte{0x41, 0xc6, 0x04, 0x24, 0x2a, // mov byte [r12], 42
		0x49, 0x81, 0xc4, 0, 0x10, 0, 0, // add r12, 4096
		0x4d, 0x39, 0xec, 0x0f, 0x85}) // cmp r12, r13; jne loop
	return binary.LittleEndian.AppendUint32(code, uint32(loop-len(code)-4))
}

// forever adds steps of a guest that says that it begins and never ends.
func forever(p *guests.Probe, code ...[]byte) {
	p.Do(p.Puts(begun))
	execute(p, append(code, []byte{0xeb, 0xfe})...) // jmp $
}
