// Package seccomp expresses system call policies as typed data: what may be
// called, with which arguments, and why. It assembles a policy into a BPF
// program, explains it in words, and checks the program against the policy. The
// policies themselves stand beside what they confine, in packages spt and
// kvmhvt.
//
// Everything here is for x86-64 Linux and pure computation: nothing in this
// package makes a system call.
package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Field is a 64-bit word of struct seccomp_data that a condition looks at.
type Field uint8

// Fields of struct seccomp_data (linux/seccomp.h).
const (
	Arg0 Field = iota
	Arg1
	Arg2
	Arg3
	Arg4
	Arg5
	IP // address of the instruction after the system call
)

// Op is a comparison of a field with a constant, both taken as unsigned 64-bit.
type Op uint8

// Comparisons.
const (
	Equal  Op = iota // field == Value
	AtMost           // field <= Value
	Masked           // field & Mask == Value
)

// Cond is one condition on a call.
type Cond struct {
	Field Field  `json:"field"`
	Op    Op     `json:"op"`
	Value uint64 `json:"value"`
	Mask  uint64 `json:"mask,omitempty"` // Masked only
}

// Rule allows one system call when all its conditions hold, or answers it.
type Rule struct {
	Nr    uint32     `json:"nr"` // x86-64 system call number
	Conds []Cond     `json:"conds,omitempty"`
	Errno unix.Errno `json:"errno,omitempty"` // if not 0, the call is not made and fails with this number, up to 4095
	Why   string     `json:"why"`             // one clause: what the guest (or tender) needs it for
}

// Policy does what the first rule for a call says and gives Deny to everything
// else. No rule allows calls of another architecture or of the x32 interface:
// their numbers mean other calls.
type Policy struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"` // calls that appear first are found first
	Deny  Action `json:"deny"`  // Kill or Trap
}

// Allow adds a rule: system call nr where all conditions hold, for the reason why.
// Inlined in another package, it would make the compiler allocate conds.
//
//go:noinline
func (p *Policy) Allow(nr uint32, why string, conds ...Cond) {
	p.Rules = append(p.Rules, Rule{Nr: nr, Conds: raw.Clone(conds), Why: why})
}

// Holds is the error number with which the calls of AnswerHolds fail. The
// kernel itself never returns it.
const Holds unix.Errno = 4095

// AnswerHolds adds a rule that lets a process see that the policy is in effect:
// system call nr, where all conditions hold, is not carried out and fails with
// Holds.
//
//go:noinline
func (p *Policy) AnswerHolds(nr uint32, conds ...Cond) {
	p.Rules = append(p.Rules, Rule{Nr: nr, Conds: raw.Clone(conds), Errno: Holds, Why: "nothing: fails, to show that this policy holds"})
}

// FD is the condition that the first argument is descriptor n.
func FD(n int) Cond { return Arg0.Is(uint64(n)) }

// Is is the condition f == v.
func (f Field) Is(v uint64) Cond { return Cond{Field: f, Op: Equal, Value: v} }

// AtMost is the condition f <= v.
func (f Field) AtMost(v uint64) Cond { return Cond{Field: f, Op: AtMost, Value: v} }

// Masked is the condition f & mask == v.
func (f Field) Masked(mask, v uint64) Cond {
	return Cond{Field: f, Op: Masked, Value: v, Mask: mask}
}

// Action is what the kernel does with a call.
type Action uint32

// Actions (SECCOMP_RET_*, linux/seccomp.h).
const (
	Kill  Action = 0x80000000 // SECCOMP_RET_KILL_PROCESS: the process dies of SIGSYS
	Trap  Action = 0x00030000 // SECCOMP_RET_TRAP: SIGSYS, caught by the fault reporter
	Allow Action = 0x7fff0000 // SECCOMP_RET_ALLOW
	fail  Action = 0x00050000 // SECCOMP_RET_ERRNO; the lower half is the error number
)

// action is what happens to a call that meets the rule's conditions.
func (r *Rule) action() Action {
	if r.Errno == 0 {
		return Allow
	}
	return fail | Action(r.Errno)
}

// x32Bit marks the numbers of x32 calls (__X32_SYSCALL_BIT, asm/unistd.h),
// which arrive under the architecture of x86-64.
const x32Bit = 0x40000000

// Call is one system call as a filter sees it (struct seccomp_data).
type Call struct {
	Arch uint32 // AUDIT_ARCH_*, linux/audit.h
	Nr   uint32
	Args [6]uint64
	IP   uint64 // address of the instruction after the system call
}

// Decide says what the policy does with c. It reads the rules as they are
// written and shares no code with Assemble, so that each can judge the other.
func (p *Policy) Decide(c Call) Action {
	if c.Arch != unix.AUDIT_ARCH_X86_64 {
		return p.Deny
	}
	for i := range p.Rules {
		if r := &p.Rules[i]; r.holds(c) {
			return r.action()
		}
	}
	return p.Deny
}

// byCall groups the rules by system call, in the order in which the calls first
// appear.
func (p *Policy) byCall() [][]*Rule {
	var groups [][]*Rule
	for i := range p.Rules {
		r := &p.Rules[i]
		sameCall := func(group []*Rule) bool { return group[0].Nr == r.Nr }
		if g := slices.IndexFunc(groups, sameCall); g >= 0 {
			groups[g] = raw.Append(groups[g], r)
		} else {
			groups = raw.Append(groups, raw.Append([]*Rule(nil), r))
		}
	}
	return groups
}

func (r *Rule) holds(c Call) bool {
	if r.Nr != c.Nr {
		return false
	}
	for _, cond := range r.Conds {
		v := c.IP
		if cond.Field != IP {
			v = c.Args[cond.Field]
		}
		holds := false
		switch cond.Op {
		case Equal:
			holds = v == cond.Value
		case AtMost:
			holds = v <= cond.Value
		case Masked:
			holds = v&cond.Mask == cond.Value
		}
		if !holds {
			return false
		}
	}
	return true
}
