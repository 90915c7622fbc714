package seccomp

import (
	"errors"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"
)

// Check runs prog on every call at a boundary of the policy and compares what
// it returns with what the policy decides. The first difference is the error.
//
// It starts from one call that each rule allows, and one that none does. In
// each of them every argument and the instruction pointer take the values around
// the rule's constants, and the constants and numbers of the other rules; the
// number runs from 0 to 600, also as an x32 call and with other high bits; and
// the architecture becomes another one.
func Check(p *Policy, prog []unix.SockFilter) error {
	for c := range p.boundaryCalls() {
		got, err := run(prog, c)
		if err != nil {
			return fmt.Errorf("policy %s, %v: %w", p.Name, c, err)
		}
		if want := p.Decide(c); got != want {
			return fmt.Errorf("policy %s: the program returns %v where the rules say %v: %v", p.Name, got, want, c)
		}
	}
	return nil
}

// String returns the call as its numbers.
func (c Call) String() string {
	return fmt.Sprintf("call %d with arguments %#x at %#x on architecture %#x", c.Nr, c.Args, c.IP, c.Arch)
}

// boundaryCalls yields the calls that Check tries.
func (p *Policy) boundaryCalls() iter.Seq[Call] {
	return func(yield func(Call) bool) {
		unknown := Rule{Nr: x32Bit - 1}
		ok := unknown.calls(p, yield)
		for i := 0; ok && i < len(p.Rules); i++ {
			ok = p.Rules[i].calls(p, yield)
		}
	}
}

// calls yields the calls around one that satisfies the rule, until yield
// returns false, and returns whether it never did.
func (r *Rule) calls(p *Policy, yield func(Call) bool) bool {
	start := r.example()
	for f := Arg0; f <= IP; f++ {
		for _, v := range r.values(p, f) {
			c := start
			c.set(f, v)
			if !yield(c) {
				return false
			}
		}
	}
	for nr := range uint32(601) {
		for _, high := range []uint32{0, x32Bit, 1 << 16, 1 << 31} {
			c := start
			c.Nr = nr | high
			if !yield(c) {
				return false
			}
		}
	}
	archs := []uint32{0, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64, 1<<32 - 1}
	for bit := range 32 {
		archs = append(archs, unix.AUDIT_ARCH_X86_64^1<<bit)
	}
	for _, arch := range archs {
		c := start
		c.Arch = arch
		if !yield(c) {
			return false
		}
	}
	return true
}

// values returns the values to try in field f of a call that satisfies r.
func (r *Rule) values(p *Policy, f Field) []uint64 {
	values := []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 63, 1<<64 - 1}
	for _, c := range r.Conds {
		if c.Field == f {
			values = append(values, c.boundaries()...)
		}
	}
	for _, rules := range p.byCall() {
		nr := uint64(rules[0].Nr)
		values = append(values, nr, nr<<32)
		if rules[0].Nr != r.Nr {
			continue
		}
		for _, other := range rules {
			for _, c := range other.Conds {
				if c.Field == f {
					values = append(values, c.Value)
				}
			}
		}
	}
	return values
}

// boundaries returns the values next to the condition's constant, and those
// that only a 64-bit comparison tells from it.
func (c Cond) boundaries() []uint64 {
	v := c.Value
	near := []uint64{v, v - 1, v + 1, v - 1<<32, v + 1<<32, v>>32 | v<<32, v & (1<<32 - 1), v &^ (1<<32 - 1), v | c.Mask, v | ^c.Mask}
	for bit := range 64 {
		near = append(near, v^1<<bit)
	}
	return near
}

// example returns a call that satisfies the rule, if any does: its last
// condition on a field decides.
func (r *Rule) example() Call {
	call := Call{Arch: unix.AUDIT_ARCH_X86_64, Nr: r.Nr}
	for _, c := range r.Conds {
		call.set(c.Field, c.Value)
	}
	return call
}

func (c *Call) set(f Field, v uint64) {
	if f == IP {
		c.IP = v
	} else {
		c.Args[f] = v
	}
}

// run interprets prog on one call. Any instruction other than those above, a
// load outside struct seccomp_data and a missing return are errors.
func run(prog []unix.SockFilter, c Call) (Action, error) {
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		var holds bool
		switch in.Code {
		case opLoad:
			var ok bool
			if a, ok = c.word(in.K); !ok {
				return 0, fmt.Errorf("instruction %d loads offset %d", pc, in.K)
			}
			continue
		case opAnd:
			a &= in.K
			continue
		case opSkip:
			if in.K >= maxProgram {
				return 0, fmt.Errorf("instruction %d jumps %d instructions ahead", pc, in.K)
			}
			pc += int(in.K)
			continue
		case opReturn:
			return Action(in.K), nil
		case opEqual:
			holds = a == in.K
		case opGreater:
			holds = a > in.K
		default:
			return 0, fmt.Errorf("instruction %d has unknown code %#x", pc, in.Code)
		}
		if holds {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return 0, errors.New("program ends without a return")
}

// word reads the 32-bit word at an offset of struct seccomp_data.
func (c *Call) word(offset uint32) (uint32, bool) {
	switch {
	case offset == offNr:
		return c.Nr, true
	case offset == offArch:
		return c.Arch, true
	case offset%4 != 0 || offset >= offArgs+6*8:
		return 0, false
	}
	v := c.IP
	if offset >= offArgs {
		v = c.Args[(offset-offArgs)/8]
	}
	if offset%8 == 0 {
		return uint32(v), true
	}
	return uint32(v >> 32), true
}
