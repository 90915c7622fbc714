package seccomp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses of a fault reporter, as they are in an spt image.
var testReporter = Reporter{IP: 0x10234, Buf: 0x7fff_0000_2000, MaxLen: 160}

// testPolicies returns the policies of both backends, for several numbers of
// devices up to the most that a manifest holds, in every variant.
func testPolicies() []*Policy {
	var all []*Policy
	for _, count := range [][2]int{{0, 0}, {1, 0}, {0, 1}, {1, 1}, {31, 0}, {0, 31}, {31, 32}, {63, 0}, {0, 63}} {
		var net []NetGrant
		var block []BlockGrant
		next := 5
		for range count[0] {
			net = append(net, NetGrant{fmt.Sprintf("net%d", next), next})
			next++
		}
		for i := range count[1] {
			size := uint64(512) << (i % 4)
			block = append(block, BlockGrant{fmt.Sprintf("disk%d", next), next, size, size << (i % 48)})
			next++
		}
		for _, strict := range []bool{false, true} {
			for _, reporter := range []*Reporter{nil, &testReporter} {
				p := SPT(SPTGrants{EpollFD: 3, TimerFD: 4, Net: net, Block: block, Strict: strict, Reporter: reporter})
				p.Name = fmt.Sprintf("%s-%d-net-%d-block-%v", p.Name, count[0], count[1], p.Deny)
				all = append(all, p)
			}
		}
		p := HVT(HVTGrants{PID: 4321, VCPUFD: 100, EpollFD: 3, TimerFD: 4, Net: net, Block: block, Read: []int{101, 102}, Interrupts: true})
		p.Name = fmt.Sprintf("%s-%d-net-%d-block", p.Name, count[0], count[1])
		all = append(all, p)
	}
	return all
}

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
	hvt := HVT(HVTGrants{PID: 4321, VCPUFD: 100, EpollFD: 3, TimerFD: 4, Net: []NetGrant{{"tap", 5}}, Read: []int{101}, Interrupts: true})
	hvt.Deny = Trap // unlike Kill, it shows which of the two an x32 call meets
	spt := SPT(SPTGrants{
		EpollFD: 3, TimerFD: 4, Reporter: &testReporter,
		Net: []NetGrant{{"in", 5}}, Block: []BlockGrant{{"disk", 6, 512, 1 << 33}},
	})
	for _, p := range []*Policy{spt, hvt} {
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
	p := SPT(SPTGrants{})
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
