package spt

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/plan"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// texts returns the fault reporter's table: the number of system call names,
// then NUL-terminated texts, numbered as in layout.go. The texts of calls without
// a name are empty, and so is the last one, for the numbers beyond.
func texts() [][]byte {
	const killed = "gocat: guest killed by "
	words := [textCalls]string{
		unix.SIGILL:    killed + "SIGILL: illegal instruction",
		unix.SIGTRAP:   killed + "SIGTRAP: breakpoint",
		unix.SIGBUS:    killed + "SIGBUS: bus error",
		unix.SIGFPE:    killed + "SIGFPE: arithmetic fault",
		unix.SIGSEGV:   killed + "SIGSEGV: memory fault",
		textProtection: killed + "SIGSEGV: privileged instruction or non-canonical address",
		unix.SIGSYS:    killed + "SIGSYS: forbidden system call ",
		textRAX:        "; rax ",
		textRDI:        " rdi ",
		textRSI:        " rsi ",
		textRDX:        " rdx ",
		textRIP:        "; rip ",
		textAt:         " at address ",
		textUnknown:    "unknown",
		textI386:       "of the i386 interface",
		textX32:        "of the x32 interface",
		textIn:         " in ",
	}
	names := seccomp.NameTable()
	out := raw.Slice[byte](4, 1024)
	binary.LittleEndian.PutUint32(out, uint32(strings.Count(names, "\x00")))
	for _, s := range words {
		out = append(append(out, s...), 0)
	}
	return plan.Pieces(out, raw.Bytes(names), plan.Zeros(1))
}
