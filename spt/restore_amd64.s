#include "textflag.h"

// The last of gocat's code in the process of a guest that has run before: the stub
// enters it in the guest's place. Its bytes are copied to just after the stub, so
// it may refer only to itself and to STATE (layout.go has the same number, and a
// test compares them), a page that can only be read:
//
//	RBP; RIP, CS, flags, RSP, SS as IRETQ takes them; the other general registers,
//	the mask of XRSTOR, and at AREA what it loads
//
// It changes no memory. A guest that jumps here has its registers set to what they
// were, and nothing else.

#define STATE 0x28000
#define GENERAL 48
#define MASK 160
#define AREA 256

TEXT ·restore(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	$STATE, SP
	MOVL	MASK(SP), AX
	MOVL	(MASK+4)(SP), DX
	XRSTOR64 AREA(SP)
	MOVQ	(GENERAL+0)(SP), AX
	MOVQ	(GENERAL+8)(SP), BX
	MOVQ	(GENERAL+16)(SP), CX
	MOVQ	(GENERAL+24)(SP), DX
	MOVQ	(GENERAL+32)(SP), SI
	MOVQ	(GENERAL+40)(SP), DI
	MOVQ	(GENERAL+48)(SP), R8
	MOVQ	(GENERAL+56)(SP), R9
	MOVQ	(GENERAL+64)(SP), R10
	MOVQ	(GENERAL+72)(SP), R11
	MOVQ	(GENERAL+80)(SP), R12
	MOVQ	(GENERAL+88)(SP), R13
	MOVQ	(GENERAL+96)(SP), R14
	MOVQ	(GENERAL+104)(SP), R15
	POPQ	BP
	IRETQ

// restoreEnd marks the end of restore.
TEXT ·restoreEnd(SB), NOSPLIT|NOFRAME, $0-0
	RET

// restoreText returns the address and size in bytes of restore.
TEXT ·restoreText(SB), NOSPLIT, $0-16
	LEAQ	·restore(SB), AX
	LEAQ	·restoreEnd(SB), CX
	SUBQ	AX, CX
	MOVQ	AX, addr+0(FP)
	MOVQ	CX, size+8(FP)
	RET
