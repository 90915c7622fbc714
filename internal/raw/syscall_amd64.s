#include "textflag.h"

#define EPERM 1
#define ENOSYS 38

// func Syscall6(nr, a1, a2, a3, a4, a5, a6 uintptr) (r uintptr, errno unix.Errno)
TEXT ·Syscall6(SB), NOSPLIT, $0-72
	MOVQ	nr+0(FP), AX
	MOVQ	a1+8(FP), DI
	MOVQ	a2+16(FP), SI
	MOVQ	a3+24(FP), DX
	MOVQ	a4+32(FP), R10
	MOVQ	a5+40(FP), R8
	MOVQ	a6+48(FP), R9
	SYSCALL
	MOVQ	AX, r+56(FP)
	MOVQ	$0, errno+64(FP)
	CMPQ	AX, $-4095 // the largest error number, negative
	JCS	done
	MOVQ	$-1, r+56(FP)
	NEGQ	AX
	MOVQ	AX, errno+64(FP)
	CMPQ	AX, $EPERM
	JEQ	refused
	CMPQ	AX, $ENOSYS
	JNE	done
refused:
	SHLQ	$32, AX
	ORQ	nr+0(FP), AX
	MOVQ	AX, ·refused(SB)
done:
	RET

// func halt()
TEXT ·halt(SB), NOSPLIT, $0-0
	UNDEF
