#include "textflag.h"

// The fault reporter: the last code of gocat's in a guest's process. Its bytes are
// copied to address stubBase of the sealed image, before the stub of package plan,
// so it may refer only to itself and to the fixed addresses below (layout.go has
// the same numbers, and a test compares them).
//
// stubReport is the fault reporter, a signal handler that never returns, and
// stubPass the handler of signals that it passes on to a guest that has asked for
// them. The filter lets one of the two system call instructions here, at the
// beginning of stub and of stubOwned, write to standard error: see Reporter. What
// follows them only dies, by no signal that the guest gets.

#define NAMES    0x20000
#define LINE     0x17000
#define SYMBOLS  0x10fc0
#define GATE     0x10ff0
#define HANDLER  0x10ff8

#define SYS_write      1
#define SYS_rt_sigreturn 15
#define SYS_getppid    110
#define SYS_exit_group 231

#define ENOSYS 38

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
#define TEXT_I386  39
#define TEXT_X32   40
#define TEXT_IN    41
#define TEXT_CALLS 42

#define NONCANONICAL 0x8000000000000000

// Offsets in struct sigcontext within struct ucontext, and in siginfo_t
// (asm/sigcontext.h, asm-generic/siginfo.h).
#define UC_RDI 104
#define UC_RSI 112
#define UC_RDX 136
#define UC_RAX 144
#define UC_RIP 168
#define SI_CODE 8
#define SI_ADDR 16
#define SI_SYSCALL 24
#define SI_ARCH 28

#define AUDIT_ARCH_X86_64 -0x3fffffc2 // 0xc000003e
#define X32_SHIFT 30 // of the bit that marks x32 calls

// Offsets in the words at SYMBOLS (symbols.words), in Elf64_Sym and in Elf64_Shdr.
#define SYMBOLS_START  0
#define SYMBOLS_END    8
#define STRINGS_START  16
#define STRINGS_SIZE   24
#define SECTIONS_START 32
#define SECTIONS_COUNT 40
#define SYMBOL_SIZE 24
#define ST_NAME  0
#define ST_INFO  4
#define ST_SHNDX 6
#define ST_VALUE 8
#define ST_SIZE  16
#define STT_FUNC 2
#define SECTION_SHIFT 6 // of its size
#define SH_FLAGS 8
#define SH_ADDR  16
#define SH_SIZE  32
#define SHF_EXECINSTR 4
#define MAX_SYMBOL 255 // bytes of a name

// stub is where the reporter prints its line. A guest that jumps here, whatever
// its registers, is taken for the reporter by the filter and has printed its last:
// what follows up to stubReport ends the process, touches no memory before, and can
// only be left by a signal.
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
	SYSCALL
	XORL	CX, CX
	JMP	·stubDie(SB)

// stubOwned is the same for a guest that has SIGSEGV and SIGFPE passed on to it.
TEXT ·stubOwned(SB), NOSPLIT|NOFRAME, $0-0
	SYSCALL
	MOVL	$1, CX
	JMP	·stubDie(SB)

// stubDie dies of the signal in BX, which is blocked in the reporter: it does once
// more what raised it. With CX it does so only by signals that are the reporter's.
TEXT ·stubDie(SB), NOSPLIT|NOFRAME, $0-0
	CMPL	BX, $SIGSYS
	JEQ	dieCall
	CMPL	BX, $SIGILL
	JEQ	dieIll
	CMPL	BX, $SIGTRAP
	JEQ	dieTrap
	CMPL	BX, $SIGBUS
	JEQ	dieBus
	TESTL	CX, CX
	JNE	dieOwned
	CMPL	BX, $SIGFPE
	JEQ	dieFpe
	MOVL	$SIGSEGV, BX
	HLT                         // general protection
dieOwned:
	MOVL	$SIGSEGV, BX
	JMP	·stubExit(SB)
dieCall:
	MOVL	$SYS_getppid, AX
	SYSCALL
	JMP	·stubExit(SB)
dieIll:
	UD2
dieTrap:
	INT	$3
	JMP	·stubExit(SB)
dieFpe:
	XORL	CX, CX
	DIVL	CX
dieBus:
	MOVQ	$NONCANONICAL, SP   // stack fault
	MOVQ	AX, -8(SP)
	JMP	·stubExit(SB)

// stubExit ends the process with the status that a shell has for a death by the
// signal in BX: where no signal can be relied on.
TEXT ·stubExit(SB), NOSPLIT|NOFRAME, $0-0
	LEAL	128(BX), DI
exit:
	MOVL	$SYS_exit_group, AX
	SYSCALL
	JMP	exit

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
	MOVL	$TEXT_I386, DX
	CMPL	SI_ARCH(R12), $AUDIT_ARCH_X86_64
	JNE	other
	MOVL	SI_SYSCALL(R12), DX
	MOVL	DX, AX
	SHRL	$X32_SHIFT, AX
	CMPL	AX, $1
	JNE	native
	MOVL	$TEXT_X32, DX
other:
	CALL	·appendText(SB)
	JMP	named
native:
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
	CALL	·appendFunction(SB)
	MOVB	$0x0a, AX
	STOSB
	MOVQ	$LINE, SI
	MOVQ	DI, DX
	SUBQ	SI, DX
	MOVL	$2, DI
	MOVQ	$GATE, CX
	MOVQ	(CX), CX
	MOVL	$SYS_write, AX
	JMP	CX

terminate:
	JMP	·stubExit(SB)

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

// appendFunction appends to the line at DI the function of the image that the
// guest was in, as NAME+0xOFFSET, if there is one: it is image.FunctionAt once
// more, on the tables that the image came with. Their contents may be anything,
// but the guest cannot change the memory that they are in. R13 is the ucontext.
// Clobbers all but BX, DI and R13.
TEXT ·appendFunction(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	UC_RIP(R13), R8
	MOVQ	$SYMBOLS, R12
	MOVQ	SYMBOLS_START(R12), SI
	XORL	R10, R10            // the best symbol so far
	XORL	R11, R11            // and its value
	XORL	R14, R14            // and whether its size covers the address
symbol:
	LEAQ	SYMBOL_SIZE(SI), CX
	CMPQ	CX, SYMBOLS_END(R12)
	JHI	searched
	CMPL	ST_NAME(SI), $0
	JEQ	nextSymbol
	MOVQ	ST_VALUE(SI), R9
	MOVQ	R8, DX
	SUBQ	R9, DX              // from the symbol to the address
	JCS	nextSymbol
	MOVWLZX	ST_SHNDX(SI), R15
	TESTL	R15, R15
	JEQ	nextSymbol
	CMPQ	R15, SECTIONS_COUNT(R12)
	JCC	nextSymbol
	MOVBLZX	ST_INFO(SI), AX
	ANDL	$15, AX
	CMPL	AX, $STT_FUNC
	JEQ	function
	TESTL	AX, AX              // STT_NOTYPE
	JNE	nextSymbol
	JMP	label
function:
	CMPQ	DX, ST_SIZE(SI)
	JCC	label
	TESTL	R14, R14
	JEQ	sized
	CMPQ	R9, R11
	JLS	nextSymbol
sized:
	MOVL	$1, R14
	JMP	better
label:
	CMPQ	ST_SIZE(SI), $0
	JNE	nextSymbol
	TESTL	R14, R14
	JNE	nextSymbol
	SHLQ	$SECTION_SHIFT, R15
	ADDQ	SECTIONS_START(R12), R15
	TESTB	$SHF_EXECINSTR, SH_FLAGS(R15)
	JEQ	nextSymbol
	CMPQ	R9, SH_ADDR(R15)
	JCS	nextSymbol
	MOVQ	R8, AX
	SUBQ	SH_ADDR(R15), AX
	CMPQ	AX, SH_SIZE(R15)
	JCC	nextSymbol
	TESTQ	R10, R10
	JEQ	better
	CMPQ	R9, R11
	JLS	nextSymbol
better:
	MOVQ	SI, R10
	MOVQ	R9, R11
nextSymbol:
	ADDQ	$SYMBOL_SIZE, SI
	JMP	symbol
searched:
	TESTQ	R10, R10
	JEQ	unnamed
	MOVL	ST_NAME(R10), SI
	MOVQ	STRINGS_SIZE(R12), R9
	SUBQ	SI, R9              // bytes that the name may have
	JLS	unnamed
	ADDQ	STRINGS_START(R12), SI
	XORL	CX, CX
character:
	CMPQ	CX, R9
	JCC	named
	MOVBLZX	(SI)(CX*1), AX
	TESTL	AX, AX
	JEQ	named
	SUBL	$0x21, AX           // none that is not printed, nor a blank
	CMPL	AX, $(0x7e-0x21)
	JHI	unnamed
	CMPL	CX, $MAX_SYMBOL
	JEQ	named
	INCL	CX
	JMP	character
named:
	TESTL	CX, CX
	JEQ	unnamed
	MOVQ	SI, R9
	MOVQ	CX, R10
	MOVL	$TEXT_IN, DX
	CALL	·appendText(SB)
	MOVQ	R9, SI
	MOVQ	R10, CX
	REP
	MOVSB
	MOVB	$0x2b, AX           // +
	STOSB
	MOVQ	R8, AX
	SUBQ	R11, AX
	CALL	·appendHex(SB)
unnamed:
	RET

// stubPass is the handler of signals that a guest has asked for: DI signal, SI
// siginfo, DX ucontext. It goes on in the guest's own, with all registers except
// AX unchanged. They are not blocked, neither here nor there, so that a guest
// that was in the code before, of which a report is made or that must die, ends
// here.
TEXT ·stubPass(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	·stubPass(SB), AX
	CMPQ	UC_RIP(DX), AX
	JCC	pass
	LEAQ	·stub(SB), AX
	CMPQ	UC_RIP(DX), AX
	JCC	dead
pass:
	MOVQ	$HANDLER, AX
	JMP	(AX)
dead:
	MOVL	DI, BX
	JMP	·stubExit(SB)

// stubRefused is the handler of SIGSYS while the plan is carried out: what a filter
// that gocat inherited traps fails as if the kernel did not have it. DX is the
// ucontext, which lies 8 bytes above SP with its return address.
TEXT ·stubRefused(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	$-ENOSYS, UC_RAX(DX)
	ADDQ	$8, SP
	MOVL	$SYS_rt_sigreturn, AX
	SYSCALL
	UD2

// stubEnd marks the end of the reporter: the linker keeps a file's functions in order.
TEXT ·stubEnd(SB), NOSPLIT|NOFRAME, $0-0
	RET

// stubText returns the address and size in bytes of the reporter's machine code, and
// the offsets in it of its entry points.
TEXT ·stubText(SB), NOSPLIT, $0-48
	LEAQ	·stub(SB), AX
	LEAQ	·stubEnd(SB), CX
	SUBQ	AX, CX
	MOVQ	AX, addr+0(FP)
	MOVQ	CX, size+8(FP)
	LEAQ	·stubOwned(SB), CX
	SUBQ	AX, CX
	MOVQ	CX, owned+16(FP)
	LEAQ	·stubReport(SB), CX
	SUBQ	AX, CX
	MOVQ	CX, report+24(FP)
	LEAQ	·stubPass(SB), CX
	SUBQ	AX, CX
	MOVQ	CX, pass+32(FP)
	LEAQ	·stubRefused(SB), CX
	SUBQ	AX, CX
	MOVQ	CX, refused+40(FP)
	RET
