#include "textflag.h"

TEXT ·entry(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ	·ordinary(SB), AX
	MOVQ	·early(SB), DX
	JMP	gocat∕internal∕raw·Try(SB)

TEXT ·ordinary(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ	SP, ·stack(SB)
	JMP	_rt0_amd64_linux(SB)
