#include "textflag.h"
#include "go_asm.h"
#include "regs_amd64.h"

// options reads the command line, words separated by blanks (as to Solo5's
// bindings; here any control character is one). A word is legal when the table
// has it for the state that the words before it led to.
// It leaves the flags, and the first word that is not legal, in state.
TEXT ·options(SB), NOSPLIT|NOFRAME, $0-0
#define NEXT	SI	// cursor
#define LIMIT	R8	// end of the line's longest extent
#define WHEN	R9	// state of the parser, a const_when bit
#define FLAGS	R10
#define WORD	R11	// start of the word
#define LEN	R12	// bytes in the word
#define OPTION	DI	// record of the table
	MOVQ	link_cmdlinePtr(LINK), AX
	MOVQ	(BOOT)(AX*1), NEXT
	LEAQ	const_cmdlineMax(NEXT), LIMIT
	MOVL	$const_whenFirst, WHEN
	XORL	FLAGS, FLAGS

blank:
	CMPQ	NEXT, LIMIT
	JCC	end
	MOVBLZX	(NEXT), AX
	TESTL	AX, AX
	JEQ	end
	CMPL	AX, $' '
	JHI	start
	INCQ	NEXT
	JMP	blank

start:
	MOVQ	NEXT, WORD
letter:
	INCQ	NEXT
	CMPQ	NEXT, LIMIT
	JCC	find
	CMPB	(NEXT), $' '
	JHI	letter

find:
	MOVQ	NEXT, LEN
	SUBQ	WORD, LEN
	MOVQ	link_optionTable(LINK), OPTION
try:
	MOVBLZX	option_size(OPTION), CX
	TESTL	CX, CX
	JEQ	unknown
	CMPQ	CX, LEN
	JNE	other
	TESTB	WHEN, option_when(OPTION)
	JEQ	other
compare:
	MOVB	(option_text-1)(OPTION)(CX*1), AX
	CMPB	AX, -1(WORD)(CX*1)
	JNE	other
	DECQ	CX
	JNE	compare

	MOVBLZX	option_clear(OPTION), AX
	NOTL	AX
	ANDL	AX, FLAGS
	MOVBLZX	option_set(OPTION), AX
	ORL	AX, FLAGS
	MOVBLZX	option_then(OPTION), WHEN
	JMP	blank
other:
	ADDQ	$option__size, OPTION
	JMP	try

end:	// where a value is due the line may not end: blame the word before
	CMPL	WHEN, $const_whenValue
	JNE	done
unknown:
	MOVQ	WORD, state_word(STATE)
	MOVQ	LEN, state_wordSize(STATE)
done:
	MOVQ	FLAGS, state_flags(STATE)
	RET
	END

// print writes the NUL-terminated template at SI on the console in one call. In
// it a control character below const_putEnd stands for a value of state. The
// text fits state's line because all templates are ours.
TEXT ·print(SB), NOSPLIT|NOFRAME, $0-0
#define OUT	DI	// cursor in the line
	LEAQ	state_line(STATE), OUT
next:
	MOVBLZX	(SI), AX
	INCQ	SI
	CMPL	AX, $const_putEnd
	JCS	value
literal:
	MOVB	AX, (OUT)
	INCQ	OUT
	JMP	next

value:
	CMPL	AX, $const_putMAC
	JEQ	mac
	JHI	number
	LEAQ	state_line(STATE), SI
	MOVQ	OUT, DX
	SUBQ	SI, DX
	JMP	link_write(LINK)

mac:
	MOVQ	state_mac(STATE), R10
	MOVL	$6, R11
octet:
	MOVBLZX	(R10), AX
	MOVL	AX, CX
	SHRL	$4, AX
	ANDL	$15, CX
	MOVQ	link_digits(LINK), R12
	MOVB	(R12)(AX*1), AX
	MOVB	AX, (OUT)
	MOVB	(R12)(CX*1), AX
	MOVB	AX, 1(OUT)
	MOVB	$':', 2(OUT)
	ADDQ	$3, OUT
	INCQ	R10
	DECL	R11
	JNE	octet
	DECQ	OUT	// the last colon
	JMP	next

number:	// const_putDec+n: num[n] in decimal; const_putHex+n: in hexadecimal
	MOVL	$10, CX
	SUBL	$const_putDec, AX
	CMPL	AX, $const_putHex-const_putDec
	JCS	convert
	MOVL	$16, CX
	SUBL	$(const_putHex-const_putDec), AX
convert:
	MOVQ	state_num(STATE)(AX*8), AX
	LEAQ	state_scratchEnd(STATE), R10
	MOVQ	R10, R11
	MOVQ	link_digits(LINK), R12
digit:	// from the last to the first
	XORL	DX, DX
	DIVQ	CX
	MOVB	(R12)(DX*1), DX
	DECQ	R10
	MOVB	DX, (R10)
	TESTQ	AX, AX
	JNE	digit
copy:
	MOVB	(R10), AX
	MOVB	AX, (OUT)
	INCQ	OUT
	INCQ	R10
	CMPQ	R10, R11
	JNE	copy
	JMP	next
	END
