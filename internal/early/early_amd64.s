#include "textflag.h"

// The g that Go code finds before the runtime has made one: a stack without a
// guard, since the process's own grows by itself, and an m whose use faults. Its
// address is not canonical, so it faults even with page zero mapped, and
// whatever wants the runtime uses g.m first. The constants are offsets of
// runtime.g; TestRuntime compares them with the toolchain's.
#define g_stackguard0 16
#define g_m 48
DATA firstg<>+g_stackguard0(SB)/8, $0
DATA firstg<>+g_m(SB)/8, $0x8000000000000000
GLOBL firstg<>(SB), RODATA|NOPTR, $512

// Thread-local storage: Go code has g at -8(FS).
DATA tls<>+0(SB)/8, $firstg<>(SB)
GLOBL tls<>(SB), RODATA|NOPTR, $8

// What the ordinary start finds as it was.
GLOBL savedSP<>(SB), NOPTR, $8
GLOBL ordinary<>(SB), NOPTR, $8

#define SYS_arch_prctl 158
#define ARCH_SET_FS 0x1002

// Try: see early.go. Its contract: SP is as the kernel left it at the program's
// entry, AX is where the ordinary start goes on, and DX is the address of a Go
// function value of type func(args []string). Arrives at AX with SP unchanged,
// or not at all.
TEXT ·Try(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	MOVQ	SP, savedSP<>(SB)
	MOVQ	AX, ordinary<>(SB)
	MOVQ	DX, BX
	MOVQ	$SYS_arch_prctl, AX
	MOVQ	$ARCH_SET_FS, DI
	LEAQ	tls<>+8(SB), SI
	SYSCALL
	TESTQ	AX, AX
	JNE	refused
	CLD
	MOVQ	0(SP), CX
	LEAQ	8(SP), DX
	SUBQ	$40, SP
	ANDQ	$~15, SP
	MOVQ	CX, 0(SP)
	MOVQ	DX, 8(SP)
	MOVQ	BX, 16(SP)
	CALL	·start(SB)
	JMP	·abandon(SB)
refused:
	MOVQ	ordinary<>(SB), AX
	JMP	AX

// abandon is where start returns to, and the handler of the signals that a
// fault in it raises: then SP is in a signal frame below what start used, which
// is of no more interest.
TEXT ·abandon(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	CLD
	MOVQ	savedSP<>(SB), SP
	SUBQ	$40, SP
	ANDQ	$~15, SP
	CALL	·undo(SB)
	MOVQ	$SYS_arch_prctl, AX
	MOVQ	$ARCH_SET_FS, DI
	XORL	SI, SI
	SYSCALL
	MOVQ	savedSP<>(SB), SP
	MOVQ	ordinary<>(SB), AX
	JMP	AX

// abandonPC returns the address of abandon.
TEXT ·abandonPC(SB), NOSPLIT, $0-8
	LEAQ	·abandon(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
