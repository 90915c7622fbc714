package seccomp

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func call(nr uint32, args ...uint64) Call {
	c := Call{Arch: unix.AUDIT_ARCH_X86_64, Nr: nr}
	copy(c.Args[:], args)
	return c
}

func TestAssembleRefuses(t *testing.T) {
	rule := func(r Rule) *Policy { return &Policy{Name: "bad", Deny: Kill, Rules: []Rule{r}} }
	for text, p := range map[string]*Policy{
		"denies by action 0x7fff0000":  {Name: "bad", Deny: Allow},
		"denies by action 0x0":         {Name: "bad"},
		"x32":                          rule(Rule{Nr: x32Bit | 1}),
		"unknown field 7":              rule(Rule{Conds: []Cond{{Field: IP + 1}}}),
		"unknown comparison 3":         rule(Rule{Conds: []Cond{{Op: Masked + 1}}}),
		"64 conditions are too many":   rule(Rule{Conds: make([]Cond, 64)}),
		"the kernel takes 4096: grant": sample{net: make([]int, 500)}.policy(),
	} {
		prog, err := p.Assemble()
		if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want one line with %q", err, text)
		}
		if prog != nil {
			t.Errorf("a program came with the error %v", err)
		}
	}
}

// TestEveryRuleSaysWhy also asserts that the policies speak of known calls only.
func TestEveryRuleSaysWhy(t *testing.T) {
	for _, p := range testPolicies() {
		for i := range p.Rules {
			if r := &p.Rules[i]; r.Why == "" || SyscallName(r.Nr) == "" {
				t.Errorf("policy %s: rule %v: why %q", p.Name, r, r.Why)
			}
		}
	}
}
