#include "textflag.h"
#include "go_asm.h"
#include "regs_amd64.h"

// The target's four routines, for spt: the guest makes system calls of its own.
// They stay within the strict policy of package seccomp: read on the device,
// write on the console, epoll_pwait without a signal mask, exit_group.
//
// SYSCALL destroys CX and R11.

// sptRead reads at most DX bytes of the device to SI.
// AX = bytes; 0 at end of file; -EAGAIN when there is nothing yet; or -errno.
TEXT ·sptRead(SB), NOSPLIT|NOFRAME, $0-0
again:
	MOVL	$SYS_READ, AX
	MOVQ	state_device(STATE), DI
	MOVL	entry_hostFD(DI), DI
	SYSCALL
	CMPQ	AX, $-EINTR
	JEQ	again
	RET
	END

// sptWrite writes all DX bytes at SI on the console. It does not return when
// the console is gone.
//
// A full non-blocking console is tried again each millisecond. The wait ends
// immediately when the device has data, and then this spins: the strict policy
// has nothing else to sleep with. A tender avoids it with a blocking console.
TEXT ·sptWrite(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	SI, R12	// next byte
	MOVQ	DX, R13	// bytes left
next:
	TESTQ	R13, R13
	JEQ	done
	MOVL	$SYS_WRITE, AX
	MOVL	$1, DI
	MOVQ	R12, SI
	MOVQ	R13, DX
	SYSCALL
	CMPQ	AX, $0
	JEQ	full
	JLT	refused
	ADDQ	AX, R12
	SUBQ	AX, R13
	JMP	next
refused:
	CMPQ	AX, $-EINTR
	JEQ	next
	CMPQ	AX, $-EAGAIN
	JEQ	full
	MOVL	$FAILED, DI
	JMP	link_exit(LINK)
full:
	MOVL	$1, R10	// ms
	CALL	link_wait(LINK)
	JMP	next
done:
	RET
	END

// sptWait waits until the device is ready or R10 milliseconds have passed (-1:
// for ever). AX = negative when it cannot wait.
TEXT ·sptWait(SB), NOSPLIT|NOFRAME, $0-0
again:
	MOVL	$SYS_EPOLL_PWAIT, AX
	MOVL	sptBoot_epollFD(BOOT), DI
	LEAQ	state_event(STATE), SI
	MOVL	$1, DX	// events
	XORL	R8, R8	// signal mask: unchanged
	XORL	R9, R9
	SYSCALL
	CMPQ	AX, $-EINTR
	JEQ	again
	RET
	END

// sptExit exits with status DI, or faults where that fails.
TEXT ·sptExit(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	$SYS_EXIT_GROUP, AX
	SYSCALL
	HLT
	END
