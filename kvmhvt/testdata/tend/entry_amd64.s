#include "textflag.h"

// entry is the program's entry point.
TEXT ·entry(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	_rt0_amd64_linux(SB), AX
	MOVQ	·early(SB), DX
	JMP	gocat∕internal∕raw·Try(SB)
