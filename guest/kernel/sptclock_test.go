package kernel

import (
	"math/rand/v2"
	"testing"
)

// TestHostClock reads the clocks of a host for a minute, whose counter does what a
// counter should or should not do. The clock is never wrong by more than coast and what
// the counter jumps, and where the counter is good, by no more than the time that a call
// takes, at few calls.
func TestHostClock(t *testing.T) {
	const minute = 60 * second
	for name, c := range map[string]struct {
		count func(now int64) uint64 // what the counter shows
		wrong int64                  // by how much the clock may be wrong, ns
		calls int                    // how many of a hundred looks at a clock may be calls
	}{
		"2.6 GHz":       {func(now int64) uint64 { return uint64(now)*26/10 + 1<<63 }, 3000, 10},
		"24 MHz":        {func(now int64) uint64 { return uint64(now) * 24 / 1000 }, 3000, 50},
		"slewed":        {func(now int64) uint64 { return uint64(now) + uint64(now%minute)/2000 }, 3000, 10},
		"wraps":         {func(now int64) uint64 { return uint64(now) - 30*second }, 3000, 10},
		"stopped":       {func(int64) uint64 { return 7 }, coast, 100},
		"stops later":   {func(now int64) uint64 { return uint64(min(now, 30*second)) }, coast, 100},
		"goes back":     {func(now int64) uint64 { return -uint64(now) }, coast, 100},
		"set back":      {func(now int64) uint64 { return uint64(now % (7 * second)) }, coast, 100},
		"jumps":         {func(now int64) uint64 { return uint64(now + now/second*second/3) }, coast, 100},
		"speeds up":     {func(now int64) uint64 { return uint64(now + max(now-30*second, 0)*2) }, coast, 100},
		"slows down":    {func(now int64) uint64 { return uint64(now - max(now-30*second, 0)/2) }, coast, 100},
		"two of them":   {func(now int64) uint64 { return uint64(now + now>>16&1*5000000) }, coast + 5000000, 100},
		"at random":     {func(int64) uint64 { return rand.Uint64() }, coast, 100},
		"one a second":  {func(now int64) uint64 { return uint64(now / second) }, coast, 100},
		"very fast":     {func(now int64) uint64 { return uint64(now) << 20 }, coast, 100},
		"1 GHz, paused": {func(now int64) uint64 { return uint64(now + now/(10*second)*3*second) }, coast, 100},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			now, looks, calls := int64(5*second), 0, 0
			const wallAhead = 1e18
			interrupt := func() {
				if r.IntN(500) == 0 {
					now += r.Int64N(8 * second / 1000)
				}
			}
			machine = instructions{
				rdtsc: func() uint64 { interrupt(); now += 10; return c.count(now) },
				syscall6: func(nr, id, p, _, _ uintptr) uintptr {
					calls++
					now += 150
					interrupt()
					at := now
					if id == clockRealtime {
						at += wallAhead
					}
					store64(p, uint64(at/second))
					store64(p+8, uint64(at%second))
					interrupt()
					now += 150
					return 0
				},
			}
			t.Cleanup(func() { machine = instructions{} })
			var clock hostClock
			for begin := now; now < begin+minute; now += r.Int64N(200_000) {
				if r.IntN(1000) == 0 {
					now += r.Int64N(second) // the guest waits
				}
				looks++
				before := now
				got := clock.monotonic()
				if got < before-c.wrong || got > now+c.wrong {
					t.Fatalf("between %d and %d the clock shows %d, after %d looks", before, now, got, looks)
				}
				looks++
				before = now
				if got := clock.wall() - wallAhead; got < before-2*c.wrong-coast/10 || got > now+2*c.wrong+coast/10 {
					t.Fatalf("between %d and %d the wall clock shows %d, after %d looks", before, now, got, looks)
				}
			}
			if calls*100 > looks*c.calls*2 {
				t.Errorf("%d calls for %d looks", calls, looks)
			}
		})
	}
}
