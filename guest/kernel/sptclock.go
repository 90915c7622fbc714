package kernel

// Under spt a look at a clock is a system call, of which a web server makes some forty
// for a request. So between two calls, for at most coast, the processor's time stamp
// counter says how much time has passed, at the speed that is measured beside the
// calls. A counter that jumps ahead makes the clock wrong by at most coast. One that
// jumps back, or differs between processors, can hide as much time as it jumps, but not
// for longer than coast. One that does not advance is not used.
const (
	coast    = second / 1000 // ns
	measured = second / 100  // ns: the least time over which the counter's speed is measured
)

// hostClock is the host's monotonic clock, and what its wall clock shows besides.
type hostClock struct {
	at    int64  // what the clock showed at the last call, ns
	count uint64 // and the counter, immediately after it
	fresh uint64 // how much it may count until the next call; 0: nothing is known
	seen  uint64 // how much it had counted at the last look

	// The counter's speed, from what both showed at some earlier call: ns in 1<<32
	// counts, 0 if it is not known.
	speed      uint64
	firstAt    int64
	firstCount uint64
	quick      uint64 // counts that a call takes at least

	wallAhead int64 // of the wall clock to this one, ns
	wallAt    int64 // what this one showed when that was found, 0: not known
}

var sptHost hostClock

// sptClock makes the system call.
func sptClock(id uint64) int64 {
	sptCall(hostClockGettime, id, uint64(address64(&sptTime[0])), 0, 0)
	return int64(sptTime[0])*second + int64(sptTime[1])
}

func (c *hostClock) monotonic() int64 {
	if passed := rdtsc() - c.count; passed > c.seen && passed < c.fresh {
		c.seen = passed
		return c.at + int64(passed*c.speed>>32)
	}
	before := rdtsc()
	at := sptClock(clockMonotonic)
	after := rdtsc()
	c.called(at, after, after-before)
	return at
}

// called takes note of a call, which took so many counts and returned at when the
// counter was at count.
func (c *hostClock) called(at int64, count, took uint64) {
	const often = 4 // times as long as the quickest, and the process was interrupted
	c.fresh, c.seen = 0, 0
	switch {
	case c.quick == 0, took < c.quick/often: // what was measured beside slower ones is worth nothing
		c.first(at, count)
		c.quick = max(took, 1)
		return
	case took/often > c.quick:
		c.quick += c.quick/often + 1 // if it was never so quick
		return
	}
	c.quick = min(c.quick, max(took, 1))
	if passed := at - c.firstAt; passed >= measured || passed < 0 {
		old := c.speed
		c.speed = scale(uint64(max(passed, 0)), 1<<32, max(count-c.firstCount, 1))
		if differ := c.speed - old; old != 0 && min(differ, -differ) > old/256 {
			c.speed = 0 // it was the host that stopped, or another one
		}
		c.first(at, count)
	}
	// 64 bits hold the product of counts and speed.
	if c.speed > 0 && c.speed < 1<<40 {
		c.at, c.count, c.fresh = at, count, min(scale(coast, 1<<32, c.speed), 1<<24)
	}
}

// first begins to measure the counter's speed.
func (c *hostClock) first(at int64, count uint64) {
	c.firstAt, c.firstCount = at, count
}

func (c *hostClock) wall() int64 {
	now := c.monotonic()
	if c.wallAt != 0 && now-c.wallAt < coast {
		return now + c.wallAhead
	}
	wall := sptClock(clockRealtime)
	c.wallAt = 0
	// If the process was interrupted between the calls their difference is wrong.
	if since := c.monotonic() - now; since >= 0 && since < coast/10 {
		c.wallAhead, c.wallAt = wall-now, now
	}
	return wall
}
