package guests

import (
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// TestRoutines disassembles the routines as they were cut out of this program.
// Moved elsewhere they only work if they jump nowhere but within themselves and
// address nothing relative to themselves, and none may run on past its end.
func TestRoutines(t *testing.T) {
	a := newAssembly()
	for n := range uintptr(routines) {
		start := len(a.text)
		if a.routine(n); a.err != nil {
			t.Fatal(a.err)
		}
		code := a.text[start:]
		for len(code) > 0 && code[len(code)-1] == 0xcc { // padding
			code = code[:len(code)-1]
		}
		last := x86asm.Op(0)
		for at := 0; at < len(code); {
			inst, err := x86asm.Decode(code[at:], 64)
			if err != nil {
				t.Fatalf("routine %d+%#x: %v", n, at, err)
			}
			at += inst.Len
			last = inst.Op
			for _, arg := range inst.Args {
				switch arg := arg.(type) {
				case x86asm.Rel:
					if target := at + int(arg); target < 0 || target >= len(code) {
						t.Errorf("routine %d: %v leaves the routine", n, inst)
					}
				case x86asm.Mem:
					if arg.Base == x86asm.RIP || arg.Base == 0 {
						t.Errorf("routine %d: %v refers to a fixed place", n, inst)
					}
				}
			}
		}
		if last != x86asm.RET && last != x86asm.JMP && last != x86asm.HLT {
			t.Errorf("routine %d ends in %v", n, last)
		}
	}
}
