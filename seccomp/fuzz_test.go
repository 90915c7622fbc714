package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// FuzzAssemble turns bytes into a policy and compares its program, in both
// interpreters, with its rules.
func FuzzAssemble(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0})
	// Two rules of one call and a call whose number the first rules' constant
	// has in its high half.
	f.Add([]byte{0, 0, 1, 0, 0, 63, 0, 0, 0, 231, 0, 0, 0, 0, 0, 0, 1, 1, 6, 255, 255, 255, 255, 255, 255, 255, 255, 231, 0, 0})
	f.Add([]byte{9, 1, 1, 3, 2, 32, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 128})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := fuzzPolicy(data)
		prog, err := p.Assemble()
		if err != nil {
			return
		}
		if len(prog) > maxProgram {
			t.Fatalf("%d instructions", len(prog))
		}
		vm := newVM(t, prog)
		rnd := rand.New(rand.NewPCG(uint64(len(data)), 0))
		// Check tries the calls at the boundaries of all rules, which takes too long.
		r := &Rule{Nr: x32Bit - 1}
		if len(p.Rules) > 0 {
			r = &p.Rules[rnd.IntN(len(p.Rules))]
		}
		r.calls(p, func(c Call) bool {
			if got, err := run(prog, c); err != nil || got != p.Decide(c) {
				t.Fatalf("the program returns %v, %v where the rules say %v: %v\n%s", got, err, p.Decide(c), c, Disassemble(prog))
			}
			return true
		})
		for range 200 {
			c := Call{Nr: rnd.Uint32()}
			if len(p.Rules) > 0 {
				c = randomCall(rnd, p)
			}
			if got, want := runVM(t, vm, c), p.Decide(c); got != want {
				t.Fatalf("the program returns %v where the rules say %v: %v\n%s", got, want, c, Disassemble(prog))
			}
		}
	})
}

// fuzzPolicy reads rules: a call's number (two bytes), a count of conditions and
// for each a field, a comparison and its constants.
func fuzzPolicy(data []byte) *Policy {
	next := func(n int) uint64 {
		var b [8]byte
		data = data[copy(b[:n], data):]
		return binary.LittleEndian.Uint64(b[:])
	}
	p := &Policy{Name: "fuzz", Deny: Kill}
	if len(data)%2 == 1 {
		p.Deny = Trap
	}
	for len(data) > 0 && len(p.Rules) < 100 {
		r := Rule{Nr: uint32(next(2))}
		for range next(1) % 8 {
			c := Cond{Field: Field(next(1) % 7), Op: Op(next(1) % 3), Value: next(8)}
			if c.Op == Masked {
				c.Mask = next(8)
			}
			r.Conds = append(r.Conds, c)
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}
