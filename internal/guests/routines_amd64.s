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
ROUTINE(const_probeStartRoutine, ·probeStart(SB))
ROUTINE(const_probeValueRoutine, ·probeValue(SB))
ROUTINE(const_probeSyscallRoutine, ·probeSyscall(SB))
ROUTINE(const_probeInt80Routine, ·probeInt80(SB))
ROUTINE(const_probeLoad8Routine, ·probeLoad8(SB))
ROUTINE(const_probeLoad64Routine, ·probeLoad64(SB))
ROUTINE(const_probeStore8Routine, ·probeStore8(SB))
ROUTINE(const_probeStore64Routine, ·probeStore64(SB))
ROUTINE(const_probeOut8Routine, ·probeOut8(SB))
ROUTINE(const_probeOut16Routine, ·probeOut16(SB))
ROUTINE(const_probeOut32Routine, ·probeOut32(SB))
ROUTINE(const_probeIn32Routine, ·probeIn32(SB))
ROUTINE(const_probeMoveRoutine, ·probeMove(SB))
ROUTINE(const_hvtRingReadRoutine, ·hvtRingRead(SB))
ROUTINE(const_probeFaultRoutine, ·probeFault(SB))
GLOBL routines<>(SB), RODATA, $(const_routines*8)
