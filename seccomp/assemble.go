package seccomp

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Offsets in struct seccomp_data (linux/seccomp.h). The 64-bit words that
// follow lie low half first.
const (
	offNr   = 0
	offArch = 4
	offIP   = 8
	offArgs = 16
)

// maxProgram is the longest program the kernel takes (BPF_MAXINSNS).
const maxProgram = 4096

// maxSkip is the farthest a conditional jump reaches: its offsets are bytes.
const maxSkip = 255

// The instructions of a program (linux/bpf_common.h).
const (
	opLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opGreater = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	opSkip    = unix.BPF_JMP | unix.BPF_JA
	opReturn  = unix.BPF_RET | unix.BPF_K
)

// Assemble returns the BPF program of the policy, in the form that
// SECCOMP_SET_MODE_FILTER takes. It fails when the policy is malformed or its
// program would exceed the kernel's 4096 instructions.
//
// The program denies foreign architectures, then has one block a
// system call, in the order in which the calls first appear in Rules:
//
//	jeq  #nr, otherwise skip the block
//	the call's rules, one after the other: each ends in ret ALLOW or ret ERRNO and is left
//	for the next at its first condition that does not hold
//	ret  DENY, unless the last rule has no conditions
//
// Control never falls out of a block, so wherever a number is compared the
// accumulator holds the system call's number and not an argument.
func (p *Policy) Assemble() ([]unix.SockFilter, error) {
	if p.Deny != Kill && p.Deny != Trap {
		return nil, fmt.Errorf("policy %s denies by action %#x: use Kill or Trap", p.Name, uint32(p.Deny))
	}
	room := 5 // instructions that every program has
	for i := range p.Rules {
		room += 4 + 6*len(p.Rules[i].Conds) // no rule takes more
	}
	prog := append(raw.Slice[unix.SockFilter](0, room),
		load(offArch),
		jump(opEqual, unix.AUDIT_ARCH_X86_64, 1, 0),
		ret(p.Deny),
		load(offNr))
	for _, rules := range p.byCall() {
		block := 0
		for _, r := range rules {
			size, err := r.size()
			if err != nil {
				return nil, fmt.Errorf("policy %s, rule %v: %w", p.Name, r, err)
			}
			block += size
		}
		conditional := len(rules[len(rules)-1].Conds) > 0
		if conditional {
			block++
		}
		if nr := rules[0].Nr; block <= maxSkip {
			prog = append(prog, jump(opEqual, nr, 0, block))
		} else {
			prog = append(prog, jump(opEqual, nr, 1, 0), skip(block))
		}
		for _, r := range rules {
			prog = r.assemble(prog)
		}
		if conditional {
			prog = append(prog, ret(p.Deny))
		}
	}
	prog = append(prog, ret(p.Deny))
	if len(prog) > maxProgram {
		return nil, fmt.Errorf("policy %s needs %d BPF instructions and the kernel takes %d: grant fewer devices", p.Name, len(prog), maxProgram)
	}
	return prog, nil
}

// size returns the number of instructions of one rule, or an error if it cannot
// be assembled.
func (r *Rule) size() (int, error) {
	if r.Nr&x32Bit != 0 {
		return 0, fmt.Errorf("system call number %#x is an x32 one, which no rule can allow", r.Nr)
	}
	if r.Errno > Holds {
		return 0, fmt.Errorf("%d is no error number: the kernel takes up to %d", r.Errno, Holds)
	}
	n := 1
	for _, c := range r.Conds {
		if c.Field > IP {
			return 0, fmt.Errorf("condition on unknown field %d", c.Field)
		}
		if c.Op > Masked {
			return 0, fmt.Errorf("condition with unknown comparison %d", c.Op)
		}
		n += c.size()
	}
	if n > maxSkip {
		return 0, fmt.Errorf("%d conditions are too many: a rule has room for %d BPF instructions", len(r.Conds), maxSkip)
	}
	return n, nil
}

// assemble appends the code of one rule: its return when every condition holds,
// otherwise control leaves at its end.
func (r *Rule) assemble(prog []unix.SockFilter) []unix.SockFilter {
	rest := 1
	for _, c := range r.Conds {
		rest += c.size()
	}
	for _, c := range r.Conds {
		rest -= c.size()
		prog = c.assemble(prog, rest)
	}
	return append(prog, ret(r.action()))
}

// size returns the number of instructions of a condition.
func (c Cond) size() int {
	switch c.Op {
	case Equal:
		return 4
	case AtMost:
		return 5
	}
	return 6
}

// assemble appends code that falls through when the condition holds and
// otherwise skips rest further instructions. It compares 32 bits at a time; the
// low half comes first where that decides most calls.
func (c Cond) assemble(prog []unix.SockFilter, rest int) []unix.SockFilter {
	low := uint32(offArgs + 8*int(c.Field))
	if c.Field == IP {
		low = offIP
	}
	high := low + 4
	lo, hi := uint32(c.Value), uint32(c.Value>>32)
	switch c.Op {
	case Equal:
		return append(prog,
			load(low),
			jump(opEqual, lo, 0, rest+2),
			load(high),
			jump(opEqual, hi, 0, rest))
	case AtMost:
		return append(prog,
			load(high),
			jump(opGreater, hi, rest+3, 0),
			jump(opEqual, hi, 0, 2),
			load(low),
			jump(opGreater, lo, rest, 0))
	}
	return append(prog, // Masked
		load(low),
		and(uint32(c.Mask)),
		jump(opEqual, lo, 0, rest+3),
		load(high),
		and(uint32(c.Mask>>32)),
		jump(opEqual, hi, 0, rest))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: opLoad, K: offset}
}

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: opAnd, K: mask}
}

// jump compares the accumulator with k and skips yes or no instructions. Both
// fit a byte because a rule's code is limited to maxSkip.
func jump(test uint16, k uint32, yes, no int) unix.SockFilter {
	return unix.SockFilter{Code: test, Jt: uint8(yes), Jf: uint8(no), K: k}
}

func skip(n int) unix.SockFilter {
	return unix.SockFilter{Code: opSkip, K: uint32(n)}
}

func ret(a Action) unix.SockFilter {
	return unix.SockFilter{Code: opReturn, K: uint32(a)}
}
