#include "textflag.h"
#include "go_asm.h"
#include "regs_amd64.h"

// hvtRingRead is hvtRead by the network ring: it makes a request and spins until
// the tender has served it. There is one request at a time, so its result is the
// one with its index.
TEXT ·hvtRingRead(SB), NOSPLIT|NOFRAME, $0-0
	TESTL	$const_featureRing, hvtBoot_features(BOOT)
	JEQ	none
	MOVQ	hvtBoot_ring(BOOT), R8
	MOVL	state_ringNext(STATE), R9
	MOVL	R9, CX
	ANDL	$(const_ringSlots-1), CX
	IMUL3Q	$ringEntry__size, CX, AX
	LEAQ	ring_entries(R8)(AX*1), DI
	MOVL	$const_ringNetRead, ringEntry_operation(DI)
	MOVL	$const_stdinHandle, ringEntry_handle(DI)
	MOVQ	SI, ringEntry_data(DI)
	MOVL	DX, ringEntry_size(DI)
	MOVL	R9, ringEntry_id(DI)
	INCL	R9
	MOVL	R9, state_ringNext(STATE)
	MOVL	R9, AX
	XCHGL	AX, ring_entTail(R8)	// and a barrier: kick is looked at after it
	CMPL	ring_kick(R8), $0
	JEQ	wait
	MOVL	$const_ringPort, DX
	OUTL
wait:
	PAUSE
	CMPL	R9, ring_comTail(R8)
	JNE	wait
	MOVL	R9, ring_comHead(R8)
	IMUL3Q	$ringResult__size, CX, AX
	LEAQ	ring_results(R8)(AX*1), DI
	MOVL	ringResult_ret(DI), AX
	CMPL	AX, $const_solo5Again
	JEQ	nothing
	CMPL	AX, $const_solo5OK
	JNE	refused
	MOVL	ringResult_size(DI), AX
	RET
nothing:
	MOVQ	$-EAGAIN, AX
	RET
refused:
	NEGQ	AX
	RET
none:	// the tender offers no ring
	MOVQ	$-ENODEV, AX
	RET
	END
