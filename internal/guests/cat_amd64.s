#include "textflag.h"
#include "go_asm.h"
#include "regs_amd64.h"

// catStart is the entry of the cat guest. DI = boot info. The stack that the
// tender offers is left alone: the one in state saves a page.
TEXT ·catStart(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	DI, BOOT
	MOVL	$const_linkBase, LINK
	MOVQ	link_state(LINK), STATE
	LEAQ	state__size(STATE), SP

	MOVQ	link_manifestPtr(LINK), AX
	MOVQ	(BOOT)(AX*1), AX
	ADDQ	$const_stdinEntry, AX
	MOVQ	AX, state_device(STATE)
	CALL	link_options(LINK)

	TESTB	$const_flagNoBanner, state_flags(STATE)
	JNE	bannerDone
	MOVQ	boot_memSize(BOOT), AX
	MOVQ	AX, (state_num+8)(STATE)
	SHRQ	$20, AX	// MB
	MOVQ	AX, state_num(STATE)
	MOVQ	link_banner(LINK), SI
	CALL	link_print(LINK)
bannerDone:
	CMPQ	state_wordSize(STATE), $0
	JNE	unknown
	TESTB	$const_flagHelp, state_flags(STATE)
	JNE	help

	TESTB	$const_flagNoNetif, state_flags(STATE)
	JNE	netifDone
	MOVQ	state_device(STATE), R8
	LEAQ	entry_mac(R8), AX
	MOVQ	AX, state_mac(STATE)
	MOVWLZX	entry_mtu(R8), AX
	MOVQ	AX, state_num(STATE)
	MOVQ	link_netif(LINK), SI
	CALL	link_print(LINK)
netifDone:
	JMP	link_loop(LINK)

help:
	MOVQ	link_usage(LINK), SI
	CALL	link_print(LINK)
	MOVL	$OK, DI
	JMP	link_finish(LINK)

unknown:
	MOVQ	link_unknown(LINK), SI
	CALL	link_print(LINK)
	MOVQ	state_word(STATE), SI
	MOVQ	state_wordSize(STATE), DX
	CALL	link_write(LINK)
	MOVQ	link_unknownEnd(LINK), SI
	CALL	link_print(LINK)
	MOVL	$USAGE, DI
	JMP	link_finish(LINK)
	END

// catLoop copies the device to the console and does not return. The variants
// differ in how much one read takes.
TEXT ·catLoop(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	link_readSize(LINK), AX
	TESTQ	AX, AX
	JNE	limit
	MOVQ	state_device(STATE), R8
	MOVWLZX	entry_mtu(R8), AX
limit:	// to what there is between the image and the last page, the tender's stack
	MOVQ	boot_memSize(BOOT), CX
	SUBQ	$const_pageSize, CX
	SUBQ	link_heap(LINK), CX
	CMPQ	AX, CX
	JLS	fits
	MOVQ	CX, AX
fits:
	MOVQ	AX, state_readSize(STATE)

next:
	MOVQ	link_heap(LINK), SI
	MOVQ	state_readSize(STATE), DX
	CALL	link_read(LINK)
	CMPQ	AX, $0
	JEQ	end
	JLT	nothing
	MOVQ	link_heap(LINK), SI
	MOVQ	AX, DX
	CALL	link_write(LINK)
	JMP	next
nothing:
	CMPQ	AX, $-EAGAIN
	JNE	failed
	MOVQ	$-1, R10	// ms: for ever
	CALL	link_wait(LINK)
	TESTQ	AX, AX
	JGE	next
failed:
	NEGQ	AX
	MOVQ	AX, state_num(STATE)
	MOVQ	link_failed(LINK), SI
	CALL	link_print(LINK)
	MOVL	$FAILED, DI
	JMP	link_finish(LINK)
end:
	MOVL	$OK, DI
	JMP	link_finish(LINK)
	END

// catFinish exits with status DI and says so unless it must be quiet.
TEXT ·catFinish(SB), NOSPLIT|NOFRAME, $0-0
	MOVL	DI, DI	// zero-extend
	MOVQ	DI, state_num(STATE)
	TESTB	$const_flagNoBanner, state_flags(STATE)
	JNE	quiet
	MOVQ	link_exited(LINK), SI
	CALL	link_print(LINK)
quiet:
	MOVQ	state_num(STATE), DI
	JMP	link_exit(LINK)
	END
