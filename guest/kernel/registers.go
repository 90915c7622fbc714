package kernel

import "unsafe"

// registers are what the gate saves, followed by what is also saved when a thread
// is interrupted. The assembler knows their offsets.
type registers struct {
	rax, rbx, rdx, rsi, rdi, rbp uint64
	r8, r9, r10                  uint64
	r12, r13, r14, r15           uint64
	rsp, rip                     uint64
	rcx, r11, flags              uint64
}

// pointer makes an address of guest memory a pointer.
func pointer(addr uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&addr)) }

func load8(addr uintptr) uint8       { return *(*uint8)(pointer(addr)) }
func load16(addr uintptr) uint16     { return *(*uint16)(pointer(addr)) }
func load32(addr uintptr) uint32     { return *(*uint32)(pointer(addr)) }
func load64(addr uintptr) uint64     { return *(*uint64)(pointer(addr)) }
func store8(addr uintptr, v uint8)   { *(*uint8)(pointer(addr)) = v }
func store16(addr uintptr, v uint16) { *(*uint16)(pointer(addr)) = v }
func store32(addr uintptr, v uint32) { *(*uint32)(pointer(addr)) = v }
func store64(addr uintptr, v uint64) { *(*uint64)(pointer(addr)) = v }
func bytes(addr, n uintptr) []byte   { return unsafe.Slice((*byte)(pointer(addr)), n) }
func zero(addr, n uintptr)           { clear(bytes(addr, n)) }

// address is where a constant string is.
func address(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

func addressOf(b *byte) uintptr { return uintptr(unsafe.Pointer(b)) }

func bounceAddress() uintptr { return addressOf(&bounce[0]) }

func address32(p *uint32) uintptr { return uintptr(unsafe.Pointer(p)) }
func address64(p *uint64) uintptr { return uintptr(unsafe.Pointer(p)) }

// move is not inlined because the compiler (Go 1.26) fails on copies of constant
// size between integers made pointers.
//
//go:noinline
func move(to, from, n uintptr) { copy(bytes(to, n), bytes(from, n)) }
