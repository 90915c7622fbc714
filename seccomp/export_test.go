package seccomp

import (
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// For tests in package seccomp_test, which may import the backends.

// ElasticVM returns a program for the policy that go-seccomp-bpf assembled,
// without the rules that it cannot express.
func ElasticVM(t testing.TB, p *Policy) *bpf.VM {
	t.Helper()
	known := *p
	known.Rules = slices.DeleteFunc(slices.Clone(p.Rules), Rule.looksAtIP)
	vm, err := bpf.NewVM(elasticProgram(t, &known))
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

var (
	NewVM        = newVM
	RunVM        = runVM
	Run          = run
	TestPolicies = testPolicies
)

// AllowsByIP says whether a rule that ElasticVM leaves out allows the call.
func (p *Policy) AllowsByIP(c Call) bool {
	return slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.looksAtIP() && r.holds(c) })
}

func (r Rule) looksAtIP() bool {
	return slices.ContainsFunc(r.Conds, func(c Cond) bool { return c.Field == IP })
}

// Example returns a call that the rule allows, if any.
func (r *Rule) Example() Call { return r.example() }

// Set sets a word of a call.
func (c *Call) Set(f Field, v uint64) { c.set(f, v) }
