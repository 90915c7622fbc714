#include "textflag.h"
#include "go_asm.h"
#include "regs_amd64.h"

// The target's four routines, for hvt: the guest writes the address of an
// argument struct to an I/O port. They need no privilege but the port's, and no
// SSE, so they run at CPL 0 as at CPL 3.

// HYPERCALL makes hypercall n with the struct at DI. It destroys AX and DX.
#define HYPERCALL(n) \
	MOVL	DI, AX; \
	MOVL	$(const_hvtPort+n), DX; \
	OUTL

// hvtRead reads at most DX bytes of the device to SI.
// AX = bytes; 0 at end of file; -EAGAIN when there is nothing yet; or minus
// another solo5_result_t (2 or 3).
TEXT ·hvtRead(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	state_args(STATE), DI
	MOVQ	$const_stdinHandle, hvtNetRead_handle(DI)
	MOVQ	SI, hvtNetRead_data(DI)
	MOVQ	DX, hvtNetRead_size(DI)
	HYPERCALL(const_hvtCallNetRead)
	MOVL	hvtNetRead_ret(DI), AX
	CMPL	AX, $const_solo5Again
	JEQ	nothing
	CMPL	AX, $const_solo5OK
	JNE	refused
	MOVQ	hvtNetRead_size(DI), AX
	RET
nothing:
	MOVQ	$-EAGAIN, AX
	RET
refused:
	NEGQ	AX
	RET
	END

// hvtWrite writes all DX bytes at SI on the console. The hypercall has no
// result: it is for the tender to end the guest when the console is gone.
//
// gocat's tender writes all that it is given and says so in its features.
// Solo5's makes one write(2) of it and ignores a short one, which none of at
// most PIPE_BUF bytes is. (It has no features where we look for them, but the
// version of the manifest, which does not have that bit.)
TEXT ·hvtWrite(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	state_args(STATE), DI
	MOVQ	SI, hvtPuts_data(DI)
	MOVQ	DX, R13	// bytes left
	MOVQ	DX, R12	// bytes at once
	TESTL	$const_featureFullWrites, hvtBoot_features(BOOT)
	JNE	next
	MOVL	$const_pipeBuf, R12
next:
	TESTQ	R13, R13
	JEQ	done
	CMPQ	R12, R13
	JLS	whole
	MOVQ	R13, R12
whole:
	MOVQ	R12, hvtPuts_size(DI)
	HYPERCALL(const_hvtCallPuts)
	ADDQ	R12, hvtPuts_data(DI)
	SUBQ	R12, R13
	JMP	next
done:
	RET
	END

// hvtWait waits until the device is ready: it is only ever asked to wait for
// ever (R10 of sptWait). AX = 0.
TEXT ·hvtWait(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	state_args(STATE), DI
	MOVQ	$const_maxInt64, AX	// ns
	MOVQ	AX, hvtPoll_timeout(DI)
	HYPERCALL(const_hvtCallPoll)
	XORL	AX, AX
	RET
	END

// hvtExit exits with status DI.
TEXT ·hvtExit(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, AX
	LEAQ	state_args(STATE), DI
	MOVQ	$0, hvtHalt_cookie(DI)
	MOVL	AX, hvtHalt_status(DI)
again:
	HYPERCALL(const_hvtCallHalt)
	JMP	again
	END
