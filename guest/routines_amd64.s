#include "textflag.h"
#include "go_asm.h"

// func routine(n uintptr) unsafe.Pointer
TEXT ·routine(SB), NOSPLIT, $0-16
	MOVQ	n+0(FP), AX
	LEAQ	routines<>(SB), CX
	MOVQ	(CX)(AX*8), AX
	MOVQ	AX, ret+8(FP)
	RET

#define ROUTINE(n, address) DATA routines<>+(n*8)(SB)/8, $address

ROUTINE(const_sptReadRoutine, ·sptRead(SB))
ROUTINE(const_sptWriteRoutine, ·sptWrite(SB))
ROUTINE(const_sptWaitRoutine, ·sptWait(SB))
ROUTINE(const_sptExitRoutine, ·sptExit(SB))
ROUTINE(const_hvtReadRoutine, ·hvtRead(SB))
ROUTINE(const_hvtWriteRoutine, ·hvtWrite(SB))
ROUTINE(const_hvtWaitRoutine, ·hvtWait(SB))
ROUTINE(const_hvtExitRoutine, ·hvtExit(SB))
ROUTINE(const_printRoutine, ·print(SB))
ROUTINE(const_optionsRoutine, ·options(SB))
ROUTINE(const_catStartRoutine, ·catStart(SB))
ROUTINE(const_catLoopRoutine, ·catLoop(SB))
ROUTINE(const_catFinishRoutine, ·catFinish(SB))
GLOBL routines<>(SB), RODATA, $(const_routines*8)
