#include "textflag.h"

// entry is the first instruction of ./gocat as the Makefile links it (-E
// main.entry); without that flag it is dead code. Where the command runs a
// guest, as far as its first four or eight bytes tell, it has package raw try
// that before the Go runtime starts. What goes wrong there, and all else, goes
// on as it would have.
//
// The kernel enters with argc, argv, envp and the auxiliary vector at SP (System
// V ABI, x86-64 supplement, 3.4.1). After them come their strings and more than
// eight bytes, so the end of none is missed.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	0(SP), CX                  // argc
	CMPQ	CX, $2
	JLT	runtime
	MOVQ	16(SP), AX                 // argv[1]
	CMPL	0(AX), $0x006e7572         // "run", NUL
	JEQ	run
	CMPL	0(AX), $0x646e6574         // "tend", of gocat trace
	JEQ	run
	MOVQ	8(SP), AX                  // argv[0]: does its last element start with solo5-sp, solo5-hv or gocat-oc?
	MOVQ	AX, DX
base:
	MOVB	0(AX), BX
	INCQ	AX
	CMPB	BX, $0x2f
	CMOVQEQ	AX, DX
	TESTB	BX, BX
	JNE	base
	MOVQ	$0x70732d356f6c6f73, AX
	CMPQ	0(DX), AX
	JEQ	run
	MOVQ	$0x76682d356f6c6f73, AX
	CMPQ	0(DX), AX
	JEQ	run
	MOVQ	$0x636f2d7461636f67, AX    // gocat-oc
	CMPQ	0(DX), AX
	JEQ	run
runtime:
	JMP	_rt0_amd64_linux(SB)
run:
	LEAQ	·ordinary(SB), AX
	MOVQ	·early(SB), DX
	JMP	gocat∕internal∕raw·Try(SB)

// ordinary starts the Go runtime to run a guest. It leaves of the environment
// what the runtime looks at, the variables that begin with GO, and what passes
// sockets, and puts GOMAXPROCS=1 at its end. That saves copying the rest, which neither gocat run
// nor a guest reads, and starting threads that a guest's execve would only have
// to kill. A GOMAXPROCS that the user set comes first and wins.
//
// Contract: SP as at entry; all other registers are free. The arrays there are
// each right after the other, as the runtime expects them. All move down by two
// words, which keeps SP aligned and makes room for the new variable.
TEXT ·ordinary(SB), NOSPLIT|NOFRAME, $0-0
	CALL	gocat∕internal∕traps·install(SB) // the runtime's own calls may be trapped
	MOVQ	SP, SI
	LEAQ	-16(SP), SP
	MOVQ	SP, DI
	MOVQ	0(SI), CX
	ADDQ	$2, CX                     // argc itself, argv and its NULL
	CLD
	REP
	MOVSQ
environment:
	LODSQ
	TESTQ	AX, AX
	JEQ	append
	CMPW	0(AX), $0x4f47             // "GO": for the runtime
	JEQ	keep
	CMPL	0(AX), $0x5453494c         // "LIST", of LISTEN_FDS: for user networks
	JNE	environment
keep:
	STOSQ
	JMP	environment
append:
	LEAQ	variable<>(SB), AX
	STOSQ
	XORL	AX, AX
	STOSQ
auxiliary:
	LODSQ                              // the type of an entry, then its value
	STOSQ
	MOVSQ
	TESTQ	AX, AX
	JNE	auxiliary
	JMP	_rt0_amd64_linux(SB)

DATA variable<>+0(SB)/8, $"GOMAXPRO"
DATA variable<>+8(SB)/4, $"CS=1"
GLOBL variable<>(SB), RODATA|NOPTR, $16

// func entryPC() uintptr
TEXT ·entryPC(SB), NOSPLIT, $0-8
	LEAQ	·entry(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

// sealedEntry is entry for a sealed hvt guest, whose arguments are its own.
TEXT ·sealedEntry(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	·ordinary(SB), AX
	MOVQ	·early(SB), DX
	JMP	gocat∕internal∕raw·Try(SB)

// func sealedEntryPC() uintptr
TEXT ·sealedEntryPC(SB), NOSPLIT, $0-8
	LEAQ	·sealedEntry(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
