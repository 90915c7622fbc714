package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

func mustAssemble(t testing.TB, p *Policy) []unix.SockFilter {
	t.Helper()
	prog, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

func TestCheckAcceptsEveryPolicy(t *testing.T) {
	t.Parallel()
	for _, p := range testPolicies() {
		if err := Check(p, mustAssemble(t, p)); err != nil {
			t.Error(err)
		}
	}
}

// TestCheckFindsDamage damages programs, one instruction at a time: it moves
// each constant and negates each comparison. Check must notice every time.
func TestCheckFindsDamage(t *testing.T) {
	tender := tenderPolicy([]int{5}, []sampleDisk{{6, 512, 1 << 33}})
	guest := sample{epoll: 3, timer: 4, net: []int{5}, disks: []sampleDisk{{6, 512, 1 << 33}}, reporter: &testReporter}.policy()
	for _, p := range []*Policy{guest, tender} {
		prog := mustAssemble(t, p)
		for i, whole := range prog {
			damage := func(bad unix.SockFilter) {
				prog[i] = bad
				if Check(p, prog) == nil {
					t.Errorf("%s: Check accepts %v for %v as instruction %d", p.Name, bad, whole, i)
				}
				prog[i] = whole
			}
			for _, k := range []uint32{whole.K + 1, whole.K - 1, whole.K ^ 1<<31} {
				damage(unix.SockFilter{Code: whole.Code, Jt: whole.Jt, Jf: whole.Jf, K: k})
			}
			if whole.Jt != whole.Jf {
				damage(unix.SockFilter{Code: whole.Code, Jt: whole.Jf, Jf: whole.Jt, K: whole.K})
			}
		}
	}
}

// TestCheckRejectsMalformed gives Check what the kernel would refuse.
func TestCheckRejectsMalformed(t *testing.T) {
	p := sample{}.policy()
	good := mustAssemble(t, p)
	for name, prog := range map[string][]unix.SockFilter{
		"empty":             nil,
		"no return":         good[:len(good)-1],
		"unknown code":      {{Code: unix.BPF_LDX}},
		"load out of range": {load(64)},
		"unaligned load":    {load(2)},
		"jump out of range": {skip(1<<32 - 1)},
	} {
		if Check(p, prog) == nil {
			t.Errorf("Check accepts a program with the fault %q", name)
		}
	}
}
