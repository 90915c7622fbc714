package seccomp

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Disassemble writes a program as text, one instruction a line, in the notation
// of tcpdump -d: the targets of jumps are the absolute numbers in front of the
// instructions. What a load reads and what a return means follows a semicolon.
func Disassemble(prog []unix.SockFilter) string {
	var out strings.Builder
	for pc, in := range prog {
		fmt.Fprintf(&out, "(%03d) ", pc)
		switch in.Code {
		case opLoad:
			fmt.Fprintf(&out, "ld       [%d]  ; %s\n", in.K, wordName(in.K))
		case opAnd:
			fmt.Fprintf(&out, "and      #0x%x\n", in.K)
		case opEqual:
			branch(&out, "jeq", pc, in)
		case opGreater:
			branch(&out, "jgt", pc, in)
		case opSkip:
			fmt.Fprintf(&out, "ja       %d\n", pc+1+int(in.K))
		case opReturn:
			fmt.Fprintf(&out, "ret      #0x%x  ; %s\n", in.K, Action(in.K))
		default:
			fmt.Fprintf(&out, "unknown  {0x%x, %d, %d, 0x%x}\n", in.Code, in.Jt, in.Jf, in.K)
		}
	}
	return out.String()
}

func branch(out *strings.Builder, mnemonic string, pc int, in unix.SockFilter) {
	fmt.Fprintf(out, "%-8s #0x%-8x jt %d jf %d\n", mnemonic, in.K, pc+1+int(in.Jt), pc+1+int(in.Jf))
}

// wordName names the 32-bit word at an offset of struct seccomp_data.
func wordName(offset uint32) string {
	switch {
	case offset == offNr:
		return "number of the call"
	case offset == offArch:
		return "architecture"
	case offset < offArgs:
		return IP.String() + half(offset-offIP)
	}
	return Field((offset-offArgs)/8).String() + half(offset-offArgs)
}

func half(offset uint32) string {
	if offset%8 == 0 {
		return " low"
	}
	return " high"
}
