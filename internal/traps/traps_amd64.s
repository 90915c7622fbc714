#include "textflag.h"

#define SIGSYS 31
#define SIGSET 8 // bytes
#define SYS_rt_sigaction 13

#define SA_SIGINFO  0x4
#define SA_ONSTACK  0x08000000
#define SA_RESTORER 0x04000000

// A struct kernel_sigaction: handler, flags, restorer, mask.
DATA action<>+0(SB)/8, $gocat∕internal∕raw·trapped(SB)
DATA action<>+8(SB)/8, $(SA_SIGINFO|SA_ONSTACK|SA_RESTORER)
DATA action<>+16(SB)/8, $gocat∕internal∕raw·trapped(SB)
DATA action<>+24(SB)/8, $0
GLOBL action<>(SB), RODATA|NOPTR, $32

TEXT ·install(SB), NOSPLIT, $0-0
	MOVL	$SYS_rt_sigaction, AX
	MOVL	$SIGSYS, DI
	LEAQ	action<>(SB), SI
	XORL	DX, DX
	MOVL	$SIGSET, R10
	SYSCALL
	RET
