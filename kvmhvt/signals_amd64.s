#include "textflag.h"

#define SYS_rt_sigreturn 15

// handler is the handler of signals that end the process, or have the guest do
// so: it calls signalled, whose wrapper loads the registers that Go code relies on.
TEXT ·handler(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	CLD
	MOVQ	SP, AX
	SUBQ	$40, SP
	ANDQ	$~15, SP
	MOVQ	AX, 24(SP)
	MOVQ	DI, 0(SP)
	MOVQ	SI, 8(SP)
	MOVQ	DX, 16(SP)
	CALL	·signalled(SB)
	MOVQ	24(SP), SP
	RET

// tick is the handler of the timer's signal. It has nothing to do: the arrival
// of the signal interrupts KVM_RUN.
TEXT ·tick(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	RET

// debug is the handler of DebugSignal: it makes KVM_RUN return, also if it is yet
// to be called.
TEXT ·debug(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	MOVL	$1, ·debugged(SB)
	MOVQ	·debugRun(SB), AX
	MOVB	$1, 1(AX)           // immediate_exit of struct kvm_run
	RET

TEXT ·debugPC(SB), NOSPLIT, $0-8
	LEAQ	·debug(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// restorer is where a handler returns to.
TEXT ·restorer(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	MOVQ	$SYS_rt_sigreturn, AX
	SYSCALL
	INT	$3

TEXT ·handlerPC(SB), NOSPLIT, $0-8
	LEAQ	·handler(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·tickPC(SB), NOSPLIT, $0-8
	LEAQ	·tick(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·restorerPC(SB), NOSPLIT, $0-8
	LEAQ	·restorer(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// func growStack()
TEXT ·growStack(SB), NOSPLIT, $0-0
	MOVB	$0, -65536(SP)
	RET
