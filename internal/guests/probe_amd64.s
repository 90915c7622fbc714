#include "textflag.h"
#include "go_asm.h"
#include "regs_amd64.h"

// ENVIRONMENT sets up everything that routines rely on, from nothing: the code
// of a step may leave no register as it was. It keeps AX.
#define ENVIRONMENT \
	MOVL	$const_linkBase, LINK; \
	MOVQ	link_state(LINK), STATE; \
	LEAQ	probeState__size(STATE), SP; \
	MOVQ	probeState_boot(STATE), BOOT

// probeStart is the entry of the probe. It saves the registers that the tender
// entered it with, by way of the tender's stack, then carries out the steps.
TEXT ·probeStart(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ	SP
	PUSHFQ
	PUSHQ	R15
	PUSHQ	R14
	PUSHQ	R13
	PUSHQ	R12
	PUSHQ	R11
	PUSHQ	R10
	PUSHQ	R9
	PUSHQ	R8
	PUSHQ	BP
	PUSHQ	BX
	PUSHQ	DI
	PUSHQ	SI
	PUSHQ	DX
	PUSHQ	CX
	PUSHQ	AX
	MOVL	$const_linkBase, LINK
	MOVQ	link_state(LINK), STATE
	MOVQ	DI, probeState_boot(STATE)
	XORL	CX, CX
save:
	POPQ	AX
	MOVQ	AX, probeState_entry(STATE)(CX*8)
	INCL	CX
	CMPL	CX, $const_entryRegs
	JNE	save
	MOVQ	link_steps(LINK), AX
	MOVQ	AX, probeState_step(STATE)

step:
	ENVIRONMENT
	MOVQ	probeState_step(STATE), R12
	CMPQ	R12, link_stepsEnd(LINK)
	JEQ	end
	XORL	R13, R13
value:	// evaluate the step's values into state
	IMUL3Q	$Value__size, R13, SI
	LEAQ	Step_Code(R12)(SI*1), SI
	CALL	link_value(LINK)
	MOVQ	AX, probeState_values(STATE)(R13*8)
	INCL	R13
	CMPL	R13, $const_stepValues
	JNE	value

	MOVQ	(probeState_values+8)(STATE), AX
	MOVQ	(probeState_values+16)(STATE), DI
	MOVQ	(probeState_values+24)(STATE), SI
	MOVQ	(probeState_values+32)(STATE), DX
	MOVQ	(probeState_values+40)(STATE), R10
	MOVQ	(probeState_values+48)(STATE), R8
	MOVQ	(probeState_values+56)(STATE), R9
	CALL	probeState_values(STATE)

	ENVIRONMENT
	MOVQ	AX, probeState_result(STATE)
	MOVQ	probeState_step(STATE), R12
	MOVQ	Step_Save(R12), CX
	TESTQ	CX, CX
	JEQ	check
	MOVQ	AX, (CX)
check:
	LEAQ	Step_Want(R12), SI
	CALL	link_value(LINK)
	MOVQ	Step_Check(R12), CX
	CMPQ	CX, $const_None
	JEQ	pass
	CMPQ	CX, $const_NotEqual
	JEQ	notEqual
	CMPQ	AX, probeState_result(STATE)
	JNE	fail
	JMP	pass
notEqual:
	CMPQ	AX, probeState_result(STATE)
	JEQ	fail
pass:
	ADDQ	$Step__size, R12
	MOVQ	R12, probeState_step(STATE)
	JMP	step

fail:	// AX = what was wanted
	MOVQ	Step_elseStep(R12), CX
	TESTQ	CX, CX
	JEQ	report
	MOVQ	CX, probeState_step(STATE)
	JMP	step
report:
	MOVQ	AX, (state_num+16)(STATE)
	MOVQ	probeState_result(STATE), AX
	MOVQ	AX, (state_num+8)(STATE)
	MOVQ	R12, AX
	SUBQ	link_steps(LINK), AX
	MOVL	$Step__size, CX
	XORL	DX, DX
	DIVQ	CX
	MOVQ	AX, state_num(STATE)
	MOVQ	Step_Status(R12), AX
	MOVQ	AX, probeState_result(STATE)
	MOVQ	link_failed(LINK), SI
	CALL	link_print(LINK)
	MOVQ	probeState_result(STATE), DI
	JMP	link_exit(LINK)

end:
	MOVL	$OK, DI
	JMP	link_exit(LINK)
	END

// probeValue evaluates the struct Value at SI. AX = the value.
TEXT ·probeValue(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	Value_N(SI), AX
	MOVQ	Value_from(SI), CX
	TESTB	$const_fromBoot, CX
	JEQ	based
	ADDQ	BOOT, AX
based:
	TESTB	$const_from64, CX
	JEQ	not64
	MOVQ	(AX), AX
not64:
	TESTB	$const_from32, CX
	JEQ	loaded
	MOVL	(AX), AX
loaded:
	ADDQ	Value_plus(SI), AX
	RET
	END

// What steps call. Arguments are in DI, SI, DX, R10, R8, R9, and AX where it
// says so; results in AX.

// probeSyscall makes system call AX.
TEXT ·probeSyscall(SB), NOSPLIT|NOFRAME, $0-0
	SYSCALL
	RET
	END

// probeInt80 makes system call AX of the 32-bit ABI.
TEXT ·probeInt80(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ	BP
	MOVL	DI, BX
	MOVL	SI, CX
	MOVL	R10, SI
	MOVL	R8, DI
	MOVL	R9, BP
	INT	$0x80
	POPQ	BP
	MOVLQSX	AX, AX
	RET
	END

// probeLoad8 returns the byte at DI.
TEXT ·probeLoad8(SB), NOSPLIT|NOFRAME, $0-0
	MOVBLZX	(DI), AX
	RET
	END

// probeLoad64 returns the 8 bytes at DI.
TEXT ·probeLoad64(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	(DI), AX
	RET
	END

// probeStore8 stores SI's low byte at DI.
TEXT ·probeStore8(SB), NOSPLIT|NOFRAME, $0-0
	MOVB	SI, (DI)
	RET
	END

// probeStore64 stores SI at DI.
TEXT ·probeStore64(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	SI, (DI)
	RET
	END

// probeOut8 writes SI to port DI.
TEXT ·probeOut8(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, DX
	MOVL	SI, AX
	OUTB
	RET
	END

// probeOut16 writes SI to port DI.
TEXT ·probeOut16(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, DX
	MOVL	SI, AX
	OUTW
	RET
	END

// probeOut32 writes SI to port DI.
TEXT ·probeOut32(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, DX
	MOVL	SI, AX
	OUTL
	RET
	END

// probeIn32 reads port DI.
TEXT ·probeIn32(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, DX
	INL
	RET
	END

// probeMove returns AX.
TEXT ·probeMove(SB), NOSPLIT|NOFRAME, $0-0
	RET
	END

// probeFault is where the gates of Catch lead, with AX = Fault(vector): the step
// that faulted returns that. Its return address is still where probeStart's call
// left it, on top of the stack. It keeps no flag that the fault left.
TEXT ·probeFault(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	$const_linkBase, LINK
	MOVQ	link_state(LINK), STATE
	LEAQ	(probeState__size-8)(STATE), SP
	CLD
	RET
	END
