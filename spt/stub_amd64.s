#include "textflag.h"

// The stub: the first and last code of gocat in a guest's process. Seal copies
// its bytes to address stubBase of the sealed image, so it may refer only to
// itself and to the fixed addresses below (layout.go has the same numbers, and
// a test compares them).
//
// Contract. The kernel enters at stubStart with the process stack in SP. The
// plan at PLAN is a header of four words
//
//	end of the guest's command line, the address of its last byte,
//	address of the message for a command line that is too long,
//	0 if the command line is empty
//
// followed by records of ten words (plan.go). The stub appends its arguments to
// the command line, makes each record's system call, then wipes the set-up
// area, clears the registers and enters the guest. It never uses the stack
// after the plan has begun, because the plan unmaps it.
//
// stubReport is the fault reporter, a signal handler that never returns. The
// system call instruction at offset 0 is the only one that the filter lets
// write to standard error: see seccomp.Reporter. What follows it only dies.

#define BOOT     0x11000
#define PLAN     0x30000
#define RECORDS  0x30020
#define NAMES    0x20000
#define LINE     0x17000
#define TASKEND  0x7ffffffff000

#define SYS_write      1
#define SYS_munmap     11
#define SYS_getppid    110
#define SYS_exit_group 231

#define AT_SYSINFO_EHDR 33

#define SIGILL  4
#define SIGTRAP 5
#define SIGBUS  7
#define SIGFPE  8
#define SIGSEGV 11
#define SIGTERM 15
#define SIGSYS  31
#define SI_KERNEL 0x80

#define TEXT_PROTECTION 12
#define TEXT_RAX   32
#define TEXT_RDI   33
#define TEXT_RSI   34
#define TEXT_RDX   35
#define TEXT_RIP   36
#define TEXT_AT    37
#define TEXT_UNKNOWN 38
#define TEXT_CALLS 39

#define NONCANONICAL 0x8000000000000000

// The window around the vdso that is unmapped page by page where the kernel has
// sealed it: vvar pages precede it, and no kernel's vdso is larger.
#define WINDOW 0x10000

// Offsets in struct sigcontext within struct ucontext, and in siginfo_t
// (asm/sigcontext.h, asm-generic/siginfo.h).
#define UC_RDI 104
#define UC_RSI 112
#define UC_RDX 136
#define UC_RIP 168
#define SI_CODE 8
#define SI_ADDR 16
#define SI_SYSCALL 24

// stub is where the reporter prints its line, and then dies of the signal in BX.
// It never returns, so that a guest that jumps here, for which the filter takes
// it for the reporter, has printed its last.
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
	SYSCALL
	// Do once more, blocked, what raised the signal.
	CMPL	BX, $SIGSYS
	JEQ	dieCall
	CMPL	BX, $SIGILL
	JEQ	dieIll
	CMPL	BX, $SIGTRAP
	JEQ	dieTrap
	CMPL	BX, $SIGFPE
	JEQ	dieFpe
	CMPL	BX, $SIGBUS
	JEQ	dieBus
	HLT                         // general protection: SIGSEGV
dieCall:
	MOVL	$SYS_getppid, AX
	SYSCALL
	HLT
dieIll:
	UD2
dieTrap:
	INT	$3
	HLT
dieFpe:
	XORL	CX, CX
	DIVL	CX
dieBus:
	MOVQ	$NONCANONICAL, SP   // stack fault: SIGBUS
	MOVQ	AX, -8(SP)
	HLT

TEXT ·stubStart(SB), NOSPLIT|NOFRAME, $0-0
	// Append argv[1:], each after a space, to the guest's command line.
	MOVQ	$PLAN, BX
	MOVQ	0(BX), DI
	MOVQ	8(BX), R9
	MOVQ	16(BX), R15
	LEAQ	16(SP), R8          // &argv[1]
	MOVQ	0(SP), AX
	TESTQ	AX, AX
	JNE	args
	LEAQ	8(SP), R8           // no argv[0] either
args:
	MOVQ	0(R8), SI
	ADDQ	$8, R8
	TESTQ	SI, SI
	JEQ	environment
	MOVB	$0x20, AX
	CMPB	24(BX), $0          // an empty command line takes no leading space
	JEQ	first
append:
	CMPQ	DI, R9
	JAE	toolong
	MOVB	AX, 0(DI)
	INCQ	DI
first:
	MOVB	$1, 24(BX)
	MOVB	0(SI), AX
	INCQ	SI
	TESTB	AX, AX
	JNE	append
	JMP	args
toolong:
	MOVQ	R15, SI
	MOVQ	0(SI), DX           // length, then text
	ADDQ	$8, SI
	JMP	fail

	// Skip the environment, then look for the vdso in the auxiliary vector.
environment:
	MOVQ	0(R8), AX
	ADDQ	$8, R8
	TESTQ	AX, AX
	JNE	environment
	XORL	R14, R14
auxiliary:
	MOVQ	0(R8), AX
	TESTQ	AX, AX
	JEQ	plan
	CMPQ	AX, $AT_SYSINFO_EHDR
	CMOVQEQ	8(R8), R14
	ADDQ	$16, R8
	JMP	auxiliary

plan:
	MOVQ	$RECORDS, BX
record:
	MOVQ	0(BX), AX
	CMPQ	AX, $-1
	JEQ	enter
	MOVQ	8(BX), DI
	MOVQ	16(BX), SI
	MOVQ	24(BX), DX
	MOVQ	32(BX), R10
	MOVQ	40(BX), R8
	MOVQ	48(BX), R9
	CMPQ	AX, $-2
	JEQ	around
	CMPQ	AX, $-3
	JEQ	last
	SYSCALL
result:
	MOVQ	AX, BP
	ANDQ	56(BX), AX
	CMPQ	AX, 64(BX)
	JEQ	next
	MOVL	72(BX), SI
	MOVL	76(BX), DX
	TESTL	SI, SI
	JNE	errno
	IMULQ	$80, DX
	ADDQ	DX, BX
next:
	ADDQ	$80, BX
	JMP	record

last:
	MOVQ	BP, AX              // once more the result of the record before
	JMP	result

	// The message ends in ": error 000\n": write the error number over the zeros,
	// or cut that off if the call did not fail but had the wrong result.
errno:
	MOVQ	BP, AX
	NEGQ	AX
	LEAQ	-1(AX), CX
	CMPQ	CX, $4095
	JCC	unexpected
	LEAQ	-2(SI)(DX*1), DI
	MOVQ	DX, R8
	MOVL	$10, R9
digit:
	XORL	DX, DX
	DIVQ	R9
	ADDB	DX, 0(DI)
	DECQ	DI
	CMPB	0(DI), $0x30
	JEQ	digit
	MOVQ	R8, DX
	JMP	fail
unexpected:
	SUBQ	$11, DX
	MOVB	$0x0a, -1(SI)(DX*1)
fail:
	MOVL	$SYS_write, AX
	MOVL	$2, DI
	SYSCALL
	MOVL	$1, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL

	// Unmap [DI, TASKEND) around a vdso that the kernel has sealed: everything
	// but a window about it in two calls, then the window page by page. Sealed
	// pages stay; nothing else does.
around:
	MOVQ	$-22, AX            // EINVAL: the kernel did not say where it is
	TESTQ	R14, R14
	JEQ	result
	MOVQ	R14, SI
	SUBQ	$WINDOW, SI
	SUBQ	DI, SI
	MOVL	$SYS_munmap, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	result
	LEAQ	WINDOW(R14), DI
	MOVQ	$TASKEND, SI
	SUBQ	DI, SI
	JLE	window              // it reaches to the end
	MOVL	$SYS_munmap, AX
	SYSCALL
	TESTQ	AX, AX
	JNE	result
window:
	LEAQ	-WINDOW(R14), DI
page:
	MOVL	$4096, SI
	MOVL	$SYS_munmap, AX
	SYSCALL
	ADDQ	$4096, DI
	LEAQ	WINDOW(R14), AX
	CMPQ	DI, AX
	JNE	page
	XORL	AX, AX
	JMP	result

	// The end record holds entry, stack, boot info, set-up area and its words.
enter:
	MOVQ	8(BX), AX
	MOVQ	16(BX), SP
	MOVQ	24(BX), DX
	MOVQ	32(BX), DI
	MOVQ	40(BX), CX
	MOVQ	AX, (LINE-BOOT)(DX) // the stack may be read-only, or bss that is to be zero
	XORL	AX, AX
	CLD
	REP
	STOSQ
	MOVQ	DX, DI
	XORL	BX, BX
	XORL	DX, DX
	XORL	SI, SI
	XORL	BP, BP
	XORL	R8, R8
	XORL	R9, R9
	XORL	R10, R10
	XORL	R11, R11
	XORL	R12, R12
	XORL	R13, R13
	XORL	R14, R14
	XORL	R15, R15
	JMP	(LINE-BOOT)(DI)

// The fault reporter: DI signal, SI siginfo, DX ucontext. The signals that it
// reports are blocked here, so what it does last kills the guest for good and
// with the signal's own status. The texts are numbered in layout.go.
TEXT ·stubReport(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, BX
	CMPL	BX, $SIGILL
	JLT	terminate           // SIGHUP, SIGINT, SIGQUIT
	CMPL	BX, $SIGTERM
	JEQ	terminate
	MOVQ	SI, R12
	MOVQ	DX, R13
	MOVQ	$LINE, DI
	MOVL	BX, DX
	CMPL	BX, $SIGSEGV
	JNE	head
	CMPL	SI_CODE(R12), $SI_KERNEL
	JNE	head
	MOVL	$TEXT_PROTECTION, DX
head:
	CALL	·appendText(SB)
	CMPL	BX, $SIGSYS
	JEQ	call
	// Only faults with a code of their own come with an address: not those that
	// the kernel has none for, nor a signal that another process sent.
	MOVL	SI_CODE(R12), AX
	DECL	AX
	CMPL	AX, $(SI_KERNEL-1)
	JCC	tail
	MOVL	$TEXT_AT, DX
	CALL	·appendText(SB)
	MOVQ	SI_ADDR(R12), AX
	CALL	·appendHex(SB)
	JMP	tail
call:
	MOVL	SI_SYSCALL(R12), DX
	MOVQ	$NAMES, AX
	MOVL	0(AX), AX           // number of call names
	CMPL	DX, AX
	CMOVLHI	AX, DX              // the name after the last is empty
	ADDL	$TEXT_CALLS, DX
	MOVQ	DI, R14
	CALL	·appendText(SB)
	CMPQ	DI, R14
	JNE	named
	MOVL	$TEXT_UNKNOWN, DX
	CALL	·appendText(SB)
named:
	MOVL	$TEXT_RAX, DX
	CALL	·appendText(SB)
	MOVL	SI_SYSCALL(R12), AX
	CALL	·appendHex(SB)
	MOVL	$TEXT_RDI, DX
	CALL	·appendText(SB)
	MOVQ	UC_RDI(R13), AX
	CALL	·appendHex(SB)
	MOVL	$TEXT_RSI, DX
	CALL	·appendText(SB)
	MOVQ	UC_RSI(R13), AX
	CALL	·appendHex(SB)
	MOVL	$TEXT_RDX, DX
	CALL	·appendText(SB)
	MOVQ	UC_RDX(R13), AX
	CALL	·appendHex(SB)
tail:
	MOVL	$TEXT_RIP, DX
	CALL	·appendText(SB)
	MOVQ	UC_RIP(R13), AX
	CALL	·appendHex(SB)
	MOVB	$0x0a, AX
	STOSB
	MOVQ	$LINE, SI
	MOVQ	DI, DX
	SUBQ	SI, DX
	MOVL	$2, DI
	MOVL	$SYS_write, AX
	JMP	·stub(SB)

terminate:
	LEAL	128(BX), DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	HLT

// appendText appends text number DX to the line at DI. Clobbers AX, DX, SI.
TEXT ·appendText(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	$NAMES, SI
	ADDQ	$4, SI
skip:
	TESTL	DX, DX
	JEQ	copy
skipByte:
	LODSB
	TESTB	AX, AX
	JNE	skipByte
	DECL	DX
	JMP	skip
copy:
	LODSB
	TESTB	AX, AX
	JEQ	return
	STOSB
	JMP	copy
return:
	RET

// appendHex appends AX to the line at DI as 0x and its digits. Clobbers AX, CX, SI.
TEXT ·appendHex(SB), NOSPLIT|NOFRAME, $0-0
	MOVB	$0x30, 0(DI)
	MOVB	$0x78, 1(DI)
	ADDQ	$2, DI
	MOVQ	AX, SI
	ORQ	$1, SI
	BSRQ	SI, CX
	ANDL	$0x3c, CX           // shift of the first digit
nibble:
	MOVQ	AX, SI
	SHRQ	CX, SI
	ANDL	$15, SI
	ADDL	$0x30, SI
	CMPL	SI, $0x39
	JLE	store
	ADDL	$0x27, SI
store:
	MOVB	SI, 0(DI)
	INCQ	DI
	SUBL	$4, CX
	JGE	nibble
	RET

// stubEnd marks the end of the stub: the linker keeps a file's functions in order.
TEXT ·stubEnd(SB), NOSPLIT|NOFRAME, $0-0
	RET

// stubText returns the address and size in bytes of the stub's machine code, and
// the offsets in it of stubStart and stubReport.
TEXT ·stubText(SB), NOSPLIT, $0-32
	LEAQ	·stub(SB), AX
	LEAQ	·stubEnd(SB), CX
	SUBQ	AX, CX
	MOVQ	AX, addr+0(FP)
	MOVQ	CX, size+8(FP)
	LEAQ	·stubStart(SB), CX
	SUBQ	AX, CX
	MOVQ	CX, start+16(FP)
	LEAQ	·stubReport(SB), CX
	SUBQ	AX, CX
	MOVQ	CX, report+24(FP)
	RET
