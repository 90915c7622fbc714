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
		p := HVT(HVTGrants{PID: 4321, VCPUFD: 100, EpollFD: 3, TimerFD: 4, Net: net, Block: block, Read: []int{101, 102}})
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
	for _, p := range testPolicies() {
		if err := Check(p, mustAssemble(t, p)); err != nil {
			t.Error(err)
		}
	}
}
