package ptrace

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/x86"
)

// ntXState is NT_X86_XSTATE (linux/elf.h).
const ntXState = 0x202

// maxXState is more than any processor's XSAVE area (AMX: 11 KiB).
const maxXState = 16 << 10

// Registers returns the registers of a stopped process, and whether it has AVX.
func Registers(pid int) (r *x86.Registers, avx bool, err error) {
	var u unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &u); err != nil {
		return nil, false, err
	}
	r = &x86.Registers{
		General: [16]uint64{u.Rax, u.Rbx, u.Rcx, u.Rdx, u.Rsi, u.Rdi, u.Rbp, u.Rsp, u.R8, u.R9, u.R10, u.R11, u.R12, u.R13, u.R14, u.R15},
		RIP:     u.Rip, Flags: u.Eflags,
		CS: uint16(u.Cs), SS: uint16(u.Ss), DS: uint16(u.Ds), ES: uint16(u.Es), FS: uint16(u.Fs), GS: uint16(u.Gs),
		FSBase: u.Fs_base, GSBase: u.Gs_base,
	}
	area, err := xstate(pid)
	if err != nil {
		return nil, false, err
	}
	n := copy(r.Extended[:], area)
	return r, n == x86.ExtendedSize && enabled(area)&x86.StateAVX != 0, nil
}

// enabled returns XCR0, which the kernel stores in the area's unused bytes.
func enabled(area []byte) uint64 { return *(*uint64)(unsafe.Pointer(&area[464])) }

// Area returns the whole XSAVE area of a stopped process, in its standard form.
func Area(pid int) ([]byte, error) { return xstate(pid) }

// xstate returns the XSAVE area of a stopped process.
func xstate(pid int) ([]byte, error) {
	b := make([]byte, maxXState)
	v := unix.Iovec{Base: &b[0], Len: maxXState}
	if _, err := ptrace(unix.PTRACE_GETREGSET, pid, ntXState, unsafe.Pointer(&v)); err != nil {
		return nil, err
	}
	if v.Len < x86.AVXOffset {
		return nil, fmt.Errorf("an XSAVE area of %d bytes", v.Len)
	}
	return b[:v.Len], nil
}

// SetRegisters changes the registers of a stopped process. The kernel refuses
// segments and bases that a process may not have, and ignores such flags.
func SetRegisters(pid int, r *x86.Registers) error {
	var u unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &u); err != nil {
		return err
	}
	if u.Rip != r.RIP || u.Rax != r.General[x86.RAX] {
		u.Orig_rax = ^uint64(0) // or the kernel would begin an interrupted call again, from here
	}
	g := &r.General
	u.Rax, u.Rbx, u.Rcx, u.Rdx, u.Rsi, u.Rdi, u.Rbp, u.Rsp = g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7]
	u.R8, u.R9, u.R10, u.R11, u.R12, u.R13, u.R14, u.R15 = g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]
	u.Rip, u.Eflags, u.Fs_base, u.Gs_base = r.RIP, r.Flags, r.FSBase, r.GSBase
	u.Cs, u.Ss, u.Ds, u.Es, u.Fs, u.Gs = uint64(r.CS), uint64(r.SS), uint64(r.DS), uint64(r.ES), uint64(r.FS), uint64(r.GS)
	if err := unix.PtraceSetRegs(pid, &u); err != nil {
		return err
	}
	area, err := xstate(pid)
	if err != nil {
		return err
	}
	unused := [48]byte(area[464:x86.LegacySize])
	n := min(len(area), len(r.Extended))
	header := [64]byte(area[x86.LegacySize:])
	copy(area[:n], r.Extended[:])
	copy(area[464:], unused[:])
	// Only the states that Registers has may change.
	const own = x86.StateFPU | x86.StateSSE | x86.StateAVX
	old := *(*uint64)(unsafe.Pointer(&header[0]))
	want := *(*uint64)(unsafe.Pointer(&r.Extended[x86.LegacySize]))
	copy(area[x86.LegacySize:], header[:])
	*(*uint64)(unsafe.Pointer(&area[x86.LegacySize])) = (old&^own | want&own) & enabled(area)
	v := unix.Iovec{Base: &area[0], Len: uint64(len(area))}
	_, err = ptrace(unix.PTRACE_SETREGSET, pid, ntXState, unsafe.Pointer(&v))
	return err
}

// debugOffset is the offset of debug register n in struct user (asm/user_64.h).
func debugOffset(n int) uintptr { return 848 + 8*uintptr(n) }

// Debug registers besides DR0 to DR3.
const (
	DebugStatus  = 6
	DebugControl = 7
)

// DebugRegister returns debug register n of a stopped process.
func DebugRegister(pid, n int) (v uint64, err error) {
	_, err = ptrace(unix.PTRACE_PEEKUSR, pid, debugOffset(n), unsafe.Pointer(&v))
	return v, err
}

// SetDebugRegister sets debug register n of a stopped process. The kernel takes
// no address of its own there.
func SetDebugRegister(pid, n int, v uint64) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_POKEUSR, uintptr(pid), debugOffset(n), uintptr(v), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Resume lets a stopped process run, by one instruction if step, with a signal
// or 0.
func Resume(pid int, step bool, signal int) error {
	request := uintptr(unix.PTRACE_CONT)
	if step {
		request = unix.PTRACE_SINGLESTEP
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, request, uintptr(pid), 0, uintptr(signal), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
