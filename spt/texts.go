package spt

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/seccomp"
)

// faults says what each signal that the reporter catches means.
func faults() [textCalls]string {
	return [textCalls]string{
		unix.SIGILL:    "SIGILL: illegal instruction at address ",
		unix.SIGTRAP:   "SIGTRAP: breakpoint at address ",
		unix.SIGBUS:    "SIGBUS: bus error at address ",
		unix.SIGFPE:    "SIGFPE: arithmetic fault at address ",
		unix.SIGSEGV:   "SIGSEGV: memory fault at address ",
		textProtection: "SIGSEGV: privileged instruction or non-canonical address, ",
		unix.SIGSYS:    "SIGSYS: forbidden system call ",
	}
}

// texts returns the reporter's table: the number of system call names, then
// NUL-terminated texts, numbered as in layout.go, the last one for a call
// without a name.
func texts() []byte {
	out := make([]byte, 4, 8192)
	for i, s := range faults() {
		switch {
		case i == textRAX:
			s = "; rax "
		case i == textRDI:
			s = " rdi "
		case i == textRSI:
			s = " rsi "
		case i == textRDX:
			s = " rdx "
		case i == textRIP:
			s = "; rip "
		case s != "":
			s = "gocat: guest killed by " + s
		}
		out = append(append(out, s...), 0)
	}
	names := uint32(0)
	for rest := seccomp.NameTable(); len(rest) > 0; names++ {
		n := 0
		for rest[n] != 0 {
			n++
		}
		if n > 0 {
			out = append(out, rest[:n]...)
			out = append(out, '(')
			out = strconv.AppendUint(out, uint64(names), 10)
			out = append(out, ')')
		}
		out = append(out, 0)
		rest = rest[n+1:]
	}
	binary.LittleEndian.PutUint32(out, names)
	return append(out, "unknown\x00"...)
}
