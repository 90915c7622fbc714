package kernel

import (
	_ "unsafe" // for linkname

	"gocat/internal/abi"
)

// A snapshot of this guest may have been started many times over. Its tender then
// writes a number of its own into each clone's Generation, and ends the wait that the
// snapshot was taken in. What must differ between clones is renewed before any thread
// runs again: the random state of Go's runtime. The bytes of getrandom come from the
// processor and differ anyway.

// Generation is what the tender shares (note GEN1): two words that are 0 until the
// guest is a clone, and the buffer of a wait that asks for a snapshot.
//
//go:linkname Generation
var Generation [abi.GenerationSize / 8]uint64

// generation is the value of Generation when the kernel last read it.
var generation [2]uint64

// asking says that a thread waits for a snapshot.
var asking bool

func resetGeneration() {
	generation, asking = [2]uint64{}, false
	Generation = [abi.GenerationSize / 8]uint64{}
}

// cloned looks whether the guest has become a clone, and renews what clones must not
// share.
func cloned() {
	if Generation[0] == generation[0] && Generation[1] == generation[1] {
		return
	}
	generation = [2]uint64{Generation[0], Generation[1]}
	resumeClock()
	findRandom()
	renew()
}

// Random gives package runtime 64 bits for the random state of its threads. Without
// a random instruction it falls back on the tender's number.
func Random() uint64 {
	if v, ok := random(); ok {
		return v
	}
	mixed++
	v := generation[0] ^ (generation[1]<<1 | generation[1]>>63) + mixed*0x9e3779b97f4a7c15 // of splitmix64
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

var mixed uint64

// takeSnapshot waits until all other threads wait, so that none is in the middle of
// something, and asks for a snapshot. The result is 1 in a clone, 0 in the guest
// that continues.
func takeSnapshot(t *thread) int64 {
	if t.again {
		return int64(min(generation[0]|generation[1], 1))
	}
	asking = true
	return t.wait(inSnapshot, never)
}

// askSnapshot asks for the snapshot that threads wait for, when no other thread runs.
func askSnapshot() {
	asking = false
	pollSnapshot()
	cloned()
	for i := int32(0); i < top; i++ {
		if threads[i].state == inSnapshot {
			retry(&threads[i])
		}
	}
}
