#include "textflag.h"

// The g that Go code finds before the runtime has made one. Its stackguard0, at
// 16, is 0 like the rest: the process's own stack grows by itself. But the use of
// its m faults, for the address is not canonical, even with page zero mapped; and
// whatever wants the runtime uses g.m first. The offsets are those of runtime.g;
// TestRuntime compares them with the toolchain's.
//
// After it comes thread-local storage: Go code has g at -8(FS).
#define g_m 48
#define g_room 512
DATA firstg<>+g_m(SB)/8, $0x8000000000000000
DATA firstg<>+g_room(SB)/8, $firstg<>(SB)
GLOBL firstg<>(SB), RODATA|NOPTR, $(g_room+8)

// Try's arguments.
GLOBL savedSP<>(SB), NOPTR, $8
GLOBL ordinary<>(SB), NOPTR, $8
GLOBL function<>(SB), NOPTR, $8

#define SYS_write 1
#define SYS_arch_prctl 158
#define SYS_exit_group 231
#define NOTSTARTED 125
#define ARCH_SET_FS 0x1002

// What is said where there can be no thread-local storage.
#define LINE 89
DATA line<>+0(SB)/8, $"gocat: c"
DATA line<>+8(SB)/8, $"ould not"
DATA line<>+16(SB)/8, $" start: "
DATA line<>+24(SB)/8, $"arch_prc"
DATA line<>+32(SB)/8, $"tl fails"
DATA line<>+40(SB)/8, $", which "
DATA line<>+48(SB)/8, $"a seccom"
DATA line<>+56(SB)/8, $"p filter"
DATA line<>+64(SB)/8, $" around "
DATA line<>+72(SB)/8, $"gocat ma"
DATA line<>+80(SB)/8, $"y refuse"
DATA line<>+88(SB)/1, $"\n"
GLOBL line<>(SB), RODATA|NOPTR, $LINE

// Try: see start.go. Its contract: SP is as the kernel left it at the program's
// entry, AX is where the ordinary start goes on, and DX is the address of a Go
// function value of type func(args []string). Arrives at AX with SP unchanged,
// or not at all.
TEXT ·Try(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	MOVQ	SP, savedSP<>(SB)
	MOVQ	AX, ordinary<>(SB)
	MOVQ	DX, function<>(SB)
	MOVQ	$SYS_arch_prctl, AX
	MOVQ	$ARCH_SET_FS, DI
	LEAQ	firstg<>+(g_room+8)(SB), SI
	SYSCALL
	TESTQ	AX, AX
	JNE	refused
	CLD
	SUBQ	$40, SP
	ANDQ	$~15, SP
	CALL	·catch(SB)
	CMPB	0(SP), $0
	JEQ	abandon
	MOVQ	savedSP<>(SB), DX
	MOVQ	0(DX), CX
	MOVQ	CX, 0(SP)          // argc
	ADDQ	$8, DX
	MOVQ	DX, 8(SP)          // argv
	MOVQ	function<>(SB), CX
	MOVQ	CX, 16(SP)
	CALL	·start(SB)
abandon:
	JMP	·abandon(SB)
refused:
	MOVL	$SYS_write, AX
	MOVL	$2, DI
	LEAQ	line<>(SB), SI
	MOVL	$LINE, DX
	SYSCALL
	MOVL	$SYS_exit_group, AX
	MOVL	$NOTSTARTED, DI
	SYSCALL
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
