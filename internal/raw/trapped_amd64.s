#include "textflag.h"

#define ENOSYS 38
#define SIGSYS 31
#define SIGSET 8 // bytes
#define SYS_SECCOMP 1 // si_code of what a filter traps
#define SYS_rt_sigaction 13
#define SYS_rt_sigreturn 15
#define SYS_getpid 39
#define SYS_gettid 186
#define SYS_tgkill 234

// Offsets in siginfo_t and in struct ucontext.
#define SI_CODE 8
#define UC_RAX 144

// A struct kernel_sigaction of SIG_DFL.
GLOBL default<>(SB), RODATA|NOPTR, $32

// trapped is the handler of SIGSYS, with SA_SIGINFO: SI is the siginfo, DX the
// ucontext, which lies 8 bytes above SP with its return address. A call that a filter
// around the program traps has the result ENOSYS. A signal that somebody sent has the
// default action.
TEXT ·trapped(SB), NOSPLIT|NOFRAME|TOPFRAME, $0-0
	CMPL	SI_CODE(SI), $SYS_SECCOMP
	JNE	sent
	MOVQ	$-ENOSYS, UC_RAX(DX)
	INCL	·traps(SB)
return:
	ADDQ	$8, SP
	MOVL	$SYS_rt_sigreturn, AX
	SYSCALL
	INT	$3
sent:
	MOVL	$SYS_rt_sigaction, AX
	MOVL	$SIGSYS, DI
	LEAQ	default<>(SB), SI
	XORL	DX, DX
	MOVL	$SIGSET, R10
	SYSCALL
	MOVL	$SYS_gettid, AX
	SYSCALL
	MOVL	AX, R8
	MOVL	$SYS_getpid, AX
	SYSCALL
	MOVL	AX, DI
	MOVL	R8, SI
	MOVL	$SIGSYS, DX
	MOVL	$SYS_tgkill, AX
	SYSCALL
	JMP	return

// trappedPC returns the address of trapped.
TEXT ·trappedPC(SB), NOSPLIT, $0-8
	LEAQ	·trapped(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
