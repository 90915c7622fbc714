package kernel

import "testing"

// TestCloned makes the guest a clone, on a host whose clock is behind: once, its random
// state is renewed, its clock goes on, and it waits as long as it is to.
func TestCloned(t *testing.T) {
	w := boot(t, targetSPT, "")
	renewed := 0
	machine.renew = func() { renewed++ }
	w.now = 1000 * second
	before := monotonic()
	pollHost(0)
	if renewed != 0 {
		t.Fatal("an original is taken for a clone")
	}
	w.now = 3 * second
	Generation[1] = 5
	pollHost(0)
	pollHost(0)
	now := monotonic()
	if renewed != 1 || now < before || now > before+second {
		t.Errorf("renewed %d times; the clock shows %d after %d", renewed, now, before)
	}
	pollHost(now + second)
	if w.now != 4*second || monotonic() != now+second {
		t.Errorf("waited until %d of the host's clock, %d of the guest's, from %d for a second", w.now, monotonic(), now)
	}
	// Once more, on one whose clock is ahead.
	w.now = 5000 * second
	Generation[0] = 7
	pollHost(0)
	if renewed != 2 || monotonic() < now {
		t.Errorf("renewed %d times; the clock shows %d after %d", renewed, monotonic(), now)
	}
}

// TestClonedRandom has a processor without random numbers: the generation gives some.
func TestClonedRandom(t *testing.T) {
	w := boot(t, targetSPT, "")
	w.random = false
	machine.renew = func() {}
	seen := map[uint64]bool{}
	for i := range uint64(100) {
		Generation = [len(Generation)]uint64{i * i, i}
		pollHost(0)
		for range 100 {
			v := Random()
			if seen[v] {
				t.Fatalf("clone %d: %#x once more", i, v)
			}
			seen[v] = true
		}
	}
}
