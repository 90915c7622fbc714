#include "textflag.h"

// func CPUID(leaf, sub uint32) (r [4]uint32)
TEXT ·CPUID(SB), NOSPLIT, $0-24
	MOVL	leaf+0(FP), AX
	MOVL	sub+4(FP), CX
	CPUID
	MOVL	AX, r_0+8(FP)
	MOVL	BX, r_1+12(FP)
	MOVL	CX, r_2+16(FP)
	MOVL	DX, r_3+20(FP)
	RET

// func xgetbv() (low, high uint32)
TEXT ·xgetbv(SB), NOSPLIT, $0-8
	XORL	CX, CX
	XGETBV
	MOVL	AX, low+0(FP)
	MOVL	DX, high+4(FP)
	RET
