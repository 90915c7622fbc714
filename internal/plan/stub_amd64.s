#include "textflag.h"

// The stub: the first code of gocat's in a guest's process. Its bytes are copied
// into executables, at any address, so it may refer only to itself and to the
// fixed addresses below (layout.go has the same numbers, and a test compares
// them).
//
// Contract. The kernel enters at stub with the process stack in SP. The plan at
// PLAN is a header of six words
//
//	end of the guest's command line, the address of its last byte,
//	address of the message for a command line that is too long,
//	a byte that is 0 if the command line is empty, and a byte that is the exit
//	status where a record fails,
//	address of the list of errors,
//	address of the message for a program that execve gave privileges
//
// followed by records of ten words (plan.go). The stub appends its arguments to
// the command line, keeps of its environment the variables that begin with LIST or
// GOCA, makes each record's system call, then wipes the set-up
// area, clears the registers and enters the guest. It never uses the stack
// after the plan has begun, because the plan unmaps it.

#define BOOT     0x11000
#define WORD     0x17000
#define PLAN     0x30000
#define RECORDS  0x30030
#define TASKEND  0x7ffffffff000

#define DIGITS   8

// The first four bytes of the names of variables that are kept.
#define LISTEN   0x5453494c
#define GOCAT    0x41434f47

#define EPERM  1
#define EINTR  4
#define ENOSYS 38

#define SYS_write      1
#define SYS_close      3
#define SYS_munmap     11
#define SYS_pread64    17
#define SYS_writev     20
#define SYS_execve     59
#define SYS_exit_group 231

#define AT_UID  11
#define AT_EUID 12
#define AT_GID  13
#define AT_EGID 14
#define AT_SYSINFO_EHDR 33

// The window around the vdso that is unmapped page by page where the kernel has
// sealed it: vvar pages precede it, and no kernel's vdso is larger.
#define WINDOW 0x10000

TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
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
message:
	MOVQ	R15, SI
	MOVQ	0(SI), DX           // length, then text
	ADDQ	$8, SI
	JMP	fail

	// Leave of the environment what is the plan's business, remember where it is in
	// the place of a message that is not needed any more, and look for the vdso in the
	// auxiliary vector.
environment:
	MOVQ	R8, 16(BX)
	MOVQ	R8, R9
variable:
	MOVQ	0(R8), AX
	ADDQ	$8, R8
	TESTQ	AX, AX
	JEQ	variables
	CMPL	0(AX), $LISTEN
	JEQ	keep
	CMPL	0(AX), $GOCAT
	JNE	variable
keep:
	MOVQ	AX, 0(R9)
	ADDQ	$8, R9
	JMP	variable
variables:
	MOVQ	AX, 0(R9)
	XORL	R14, R14
auxiliary:
	MOVQ	0(R8), AX
	TESTQ	AX, AX
	JEQ	ids
	CMPQ	AX, $AT_SYSINFO_EHDR
	CMOVQEQ	8(R8), R14
	CMPQ	AX, $AT_UID
	CMOVQEQ	8(R8), R10
	CMPQ	AX, $AT_EUID
	CMOVQEQ	8(R8), R11
	CMPQ	AX, $AT_GID
	CMOVQEQ	8(R8), R12
	CMPQ	AX, $AT_EGID
	CMOVQEQ	8(R8), R13
	ADDQ	$16, R8
	JMP	auxiliary

ids:
	MOVQ	$(PLAN+40), R15
	MOVQ	0(R15), R15
	CMPQ	R10, R11
	JNE	message
	CMPQ	R12, R13
	JNE	message
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
	CMPQ	AX, $-4
	JEQ	copy
	CMPQ	AX, $-5
	JEQ	differ
	CMPQ	AX, $-6
	JEQ	processor
	CMPQ	AX, $-7
	JEQ	states
	CMPQ	AX, $-8
	JEQ	earlier
	CMPQ	AX, $-9
	JEQ	closeeach
	CMPQ	AX, $-10
	JEQ	fill
	CMPQ	AX, $-11
	JEQ	execute
	CMPQ	AX, $-12
	JEQ	given
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
differ:
	MOVQ	0(DI), AX
	XORQ	0(SI), AX
	ANDQ	DX, AX
	JEQ	result
	MOVL	$1, AX
	JMP	result
processor:
	MOVQ	BX, R12
	MOVL	DI, AX
	MOVL	SI, CX
	CPUID
	MOVQ	CX, AX
	SHLQ	$32, AX
	ORQ	BX, AX
	MOVQ	R12, BX
	JMP	result
states:
	XORL	CX, CX
	XGETBV
	SHLQ	$32, DX
	ORQ	DX, AX
	JMP	result
earlier:
	MOVQ	0(DI), AX
	CMPQ	AX, 0(SI)
	JNE	unequal
	MOVQ	8(DI), AX
	CMPQ	AX, 8(SI)
unequal:
	SETCS	AX
	MOVBLZX	AX, AX
	JMP	result
closeeach:
	MOVQ	DI, R12
	MOVQ	SI, R13
each:
	MOVQ	R12, DI
	MOVL	$SYS_close, AX
	SYSCALL
	INCQ	R12
	CMPQ	R12, R13
	JLS	each
	XORL	AX, AX
	JMP	result
fill:
	MOVL	$SYS_pread64, AX
	SYSCALL
	CMPQ	AX, $-EINTR
	JEQ	fill
	TESTQ	AX, AX
	JLE	result
	ADDQ	AX, SI
	ADDQ	AX, R10
	SUBQ	AX, DX
	JNE	fill
	MOVL	$1, AX
	JMP	result
execute:
	MOVQ	$(PLAN+16), DX
	MOVQ	0(DX), DX
	MOVL	$SYS_execve, AX
	SYSCALL
	JMP	result
given:
	MOVQ	$(PLAN+16), SI
	MOVQ	0(SI), SI
	XORL	AX, AX
one:
	MOVQ	0(SI), DX
	ADDQ	$8, SI
	TESTQ	DX, DX
	JEQ	result
	CMPQ	0(DX), DI
	JNE	one
	MOVL	$1, AX
	JMP	result
copy:
	MOVQ	DX, CX
	CLD
	REP
	MOVSB
	XORL	AX, AX
	JMP	result

	// A message is a text, a zero byte, and what follows the error's text: a byte
	// that is the length of a text for errors with which filters refuse calls, that
	// text, and at least a line feed. The list of errors has, for each, number and length of its text,
	// 16 bits each, then the text; the last is for numbers that are not in it, has
	// the number 0, and ends in four zeros at DIGITS.
errno:
	MOVQ	BP, AX
	NEGQ	AX
	LEAQ	-1(AX), CX
	XORL	R9, R9              // length of the error's text: none of another result
	CMPQ	CX, $4095
	JCC	text
	MOVQ	$PLAN, R8
	MOVQ	32(R8), R8          // the list
error:
	MOVWLZX	0(R8), CX
	MOVWLZX	2(R8), R9
	ADDQ	$4, R8
	TESTL	CX, CX
	JEQ	unknown
	CMPL	CX, AX
	JEQ	text
	ADDQ	R9, R8
	JMP	error
unknown:
	LEAQ	-1(R8)(R9*1), DI
	MOVQ	DX, R12
	MOVL	$10, R10
digit:
	XORL	DX, DX
	DIVQ	R10
	ADDB	DX, 0(DI)
	DECQ	DI
	CMPB	0(DI), $0x30
	JEQ	digit
	MOVQ	R12, DX
trim:                           // leading zeros
	CMPB	DIGITS(R8), $0x30
	JNE	text
	MOVL	(DIGITS+1)(R8), AX
	MOVL	AX, DIGITS(R8)
	DECQ	R9
	JMP	trim
text:
	MOVQ	SI, R10
zero:
	CMPB	0(R10), $0
	JEQ	gather
	INCQ	R10
	JMP	zero
gather:
	MOVQ	$RECORDS, DI        // is not needed any more
	MOVQ	SI, 0(DI)
	MOVQ	R10, CX
	SUBQ	SI, CX
	MOVQ	CX, 8(DI)
	MOVQ	R8, 16(DI)
	MOVQ	R9, 24(DI)
	ADDQ	DX, SI              // its end
	MOVBLZX	1(R10), CX
	ADDQ	$2, R10
	CMPL	AX, $EPERM
	JEQ	refused
	CMPL	AX, $ENOSYS
	JEQ	refused
	ADDQ	CX, R10
refused:
	TESTL	R9, R9
	JNE	rest
	LEAQ	-1(SI), R10         // what follows is about the error
rest:
	MOVQ	R10, 32(DI)
	SUBQ	R10, SI
	MOVQ	SI, 40(DI)
	MOVQ	DI, SI
	MOVL	$3, DX
	MOVL	$SYS_writev, AX
	JMP	print
fail:
	MOVL	$SYS_write, AX
print:
	MOVL	$2, DI
	SYSCALL
	MOVL	$PLAN, BX
	MOVBLZX	25(BX), DI
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
	MOVQ	AX, (WORD-BOOT)(DX) // the stack may be read-only, or bss that must be zero
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
	JMP	(WORD-BOOT)(DI)

// stubEnd marks the end of the stub: the linker keeps a file's functions in order.
TEXT ·stubEnd(SB), NOSPLIT|NOFRAME, $0-0
	RET

// stubText returns the address and size in bytes of the stub's machine code.
TEXT ·stubText(SB), NOSPLIT, $0-16
	LEAQ	·stub(SB), AX
	LEAQ	·stubEnd(SB), CX
	SUBQ	AX, CX
	MOVQ	AX, addr+0(FP)
	MOVQ	CX, size+8(FP)
	RET
