package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// newVM loads a program into the interpreter of golang.org/x/net/bpf, which
// knows nothing of ours.
func newVM(t testing.TB, prog []unix.SockFilter) *bpf.VM {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(prog))
	for i, in := range prog {
		raw[i] = bpf.RawInstruction{Op: in.Code, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	decoded, all := bpf.Disassemble(raw)
	if !all {
		t.Fatal("x/net/bpf cannot decode the program")
	}
	vm, err := bpf.NewVM(decoded)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// packet encodes a call as struct seccomp_data of a little-endian machine, with
// the bytes of each 32-bit word reversed: the interpreter loads as from a network.
func packet(c Call) [64]byte {
	var b [64]byte
	binary.BigEndian.PutUint32(b[offNr:], c.Nr)
	binary.BigEndian.PutUint32(b[offArch:], c.Arch)
	for i, v := range [...]uint64{c.IP, c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5]} {
		binary.BigEndian.PutUint32(b[offIP+8*i:], uint32(v))
		binary.BigEndian.PutUint32(b[offIP+8*i+4:], uint32(v>>32))
	}
	return b
}

func runVM(t testing.TB, vm *bpf.VM, c Call) Action {
	t.Helper()
	data := packet(c)
	got, err := vm.Run(data[:])
	if err != nil {
		t.Fatal(err)
	}
	return Action(got)
}

// randomCall starts from a call that a random rule allows and spoils up to three
// of its words with values that the policy's own constants make likely to matter.
func randomCall(rnd *rand.Rand, p *Policy) Call {
	constant := func() uint64 {
		r := &p.Rules[rnd.IntN(len(p.Rules))]
		if len(r.Conds) == 0 || rnd.IntN(4) == 0 {
			return uint64(r.Nr)
		}
		return r.Conds[rnd.IntN(len(r.Conds))].Value
	}
	c := p.Rules[rnd.IntN(len(p.Rules))].example()
	for range rnd.IntN(4) {
		var v uint64
		switch rnd.IntN(6) {
		case 0:
			v = constant()
		case 1:
			v = constant() + rnd.Uint64N(5) - 2
		case 2:
			v = constant()<<32 | constant()&(1<<32-1)
		case 3:
			v = constant() ^ 1<<rnd.IntN(64)
		case 4:
			v = rnd.Uint64() >> rnd.IntN(64)
		case 5:
			v = rnd.Uint64N(600)
		}
		switch field := rnd.IntN(20); {
		case field < 18:
			c.set(Field(field%7), v)
		case field == 18:
			c.Nr = uint32(v)
		case rnd.IntN(2) == 0:
			c.Arch = uint32(v)
		default:
			c.Nr |= x32Bit
		}
	}
	return c
}

// TestPrograms compares the policies with their programs in a foreign
// interpreter, on all boundary calls and on a million random ones, or
// a tenth of it.
func TestPrograms(t *testing.T) {
	t.Parallel()
	policies := testPolicies()
	rnd := rand.New(rand.NewPCG(1, 2))
	random := 1_000_000
	if testing.Short() {
		random /= 10
	}
	perPolicy := random/len(policies) + 1
	for _, p := range policies {
		vm := newVM(t, mustAssemble(t, p))
		compare := func(c Call) {
			if got, want := runVM(t, vm, c), p.Decide(c); got != want {
				t.Fatalf("policy %s: the program returns %v where the rules say %v: %v", p.Name, got, want, c)
			}
		}
		allowed := 0
		for range perPolicy {
			c := randomCall(rnd, p)
			if p.Decide(c) == Allow {
				allowed++
			}
			compare(c)
		}
		if allowed < perPolicy/10 || allowed > perPolicy*9/10 {
			t.Errorf("policy %s: %d of %d random calls were allowed ones: too one-sided a sample", p.Name, allowed, perPolicy)
		}
		for c := range p.boundaryCalls() {
			compare(c)
		}
	}
}
