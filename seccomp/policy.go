// Package seccomp holds every system call policy of gocat as typed data: who
// may call what, with which arguments, and why. It assembles a policy into a
// BPF program, explains it in words, and checks the program against the policy.
package seccomp

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
	Field Field
	Op    Op
	Value uint64
	Mask  uint64 // Masked only
}

// Rule allows one system call when all its conditions hold.
type Rule struct {
	Nr    uint32 // x86-64 system call number
	Conds []Cond
	Why   string // one clause: what the guest (or tender) needs it for
}

// Policy allows what at least one rule allows; everything else, another
// architecture and the x32 calls included, gets Deny.
type Policy struct {
	Name  string
	Rules []Rule
	Deny  Action // what becomes of a call that no rule allows
}

// Action is what the kernel does with a call.
type Action uint32

// Actions (SECCOMP_RET_*, linux/seccomp.h).
const (
	Kill  Action = 0x80000000 // SECCOMP_RET_KILL_PROCESS
	Trap  Action = 0x00030000 // SECCOMP_RET_TRAP: SIGSYS, caught by the fault reporter
	Allow Action = 0x7fff0000
)
