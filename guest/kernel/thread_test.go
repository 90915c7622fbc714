package kernel

import (
	"math/rand/v2"
	"testing"

	"gocat/internal/abi"
)

const cloneFlags = 0xd0f00 // what Go's runtime passes

// spawn starts a thread and returns its index.
func spawn(t *testing.T) int32 {
	t.Helper()
	id := result(sysClone, cloneFlags, 0x1000)
	if id < 2 {
		t.Fatal("clone:", id)
	}
	return int32(id) - 1
}

// nowRuns fails unless thread i runs.
func nowRuns(t *testing.T, i int32) {
	t.Helper()
	if current != i {
		t.Fatalf("thread %d runs, expected %d", current, i)
	}
}

func TestClone(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		threads[0].r13, threads[0].rip = 77, 0x5555
		child := spawn(t)
		nowRuns(t, 0)
		call(sysYield)
		nowRuns(t, child)
		c := &threads[child]
		if c.rax != 0 || c.rsp != 0x1000 || c.r13 != 77 || c.rip != 0x5555 {
			t.Errorf("child %+v", c.registers)
		}
		if got := result(sysGettid); got != int64(child)+1 {
			t.Errorf("gettid in the child: %d", got)
		}
		call(sysExit, 0)
		nowRuns(t, 0)
		if again := spawn(t); again != child {
			t.Errorf("thread %d after the end of %d", again, child)
		}
		for _, flags := range []uint64{0, 0x11, 0x50f00 | 0x01000000} {
			want := int64(errINVAL)
			if flags&0x10000 == 0 { // a process
				want = errNOSYS
			}
			if got := result(sysClone, flags, 0x1000); got != want {
				t.Errorf("clone with flags %#x: %d", flags, got)
			}
		}
	})
}

func TestTooManyThreads(t *testing.T) {
	boot(t, targetSPT, "")
	for range maxThreads - 1 {
		spawn(t)
	}
	if got := result(sysClone, cloneFlags, 0x1000); got != errAGAIN {
		t.Errorf("thread %d: %d, expected %d", maxThreads+1, got, errAGAIN)
	}
}

// The word below the thread pointer goes with its thread; the pointer stays.
func TestThreadPointer(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		slot := buffer(t, 16)
		if got := result(sysArchPrctl, abi.ArchSetFS, uint64(slot+8)); got != 0 || w.tls != uint64(slot+8) {
			t.Fatalf("arch_prctl: %d, thread pointer %#x", got, w.tls)
		}
		if got := result(sysArchPrctl, abi.ArchSetFS, 0x1234); got != errINVAL {
			t.Errorf("second arch_prctl: %d", got)
		}
		store64(slot, 100)
		child := spawn(t)
		call(sysYield)
		nowRuns(t, child)
		store64(slot, 200)
		call(sysYield)
		if v := load64(slot); v != 100 {
			t.Errorf("word %d in the parent", v)
		}
		call(sysYield)
		if v := load64(slot); v != 200 {
			t.Errorf("word %d in the child", v)
		}
	})
}

func TestFutex(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		word := uint64(buffer(t, 8))
		const wait, wake = futexWait | futexPrivate, futexWake | futexPrivate
		if got := result(sysFutex, word, wait, 1); got != errAGAIN {
			t.Fatalf("wait for another value: %d", got)
		}
		a, b := spawn(t), spawn(t)
		call(sysYield)
		first := call(sysFutex, word, wait, 0)
		nowRuns(t, b)
		second := call(sysFutex, word, wait, 0)
		nowRuns(t, 0)
		if got := result(sysFutex, word+4, wake, 9); got != 0 {
			t.Errorf("woke %d of another word", got)
		}
		if got := result(sysFutex, word, wake, 1); got != 1 {
			t.Errorf("woke %d", got)
		}
		call(sysYield)
		nowRuns(t, a) // it waited longer
		if first.rax != 0 {
			t.Errorf("result of the first %d", int64(first.rax))
		}
		if got := result(sysFutex, word, wake, 9); got != 1 {
			t.Errorf("woke %d", got)
		}
		call(sysYield)
		call(sysYield)
		nowRuns(t, b)
		if second.rax != 0 {
			t.Errorf("result of the second %d", int64(second.rax))
		}
	})
}

// timespecOf puts a struct timespec into guest memory.
func timespecOf(t *testing.T, ns int64) uint64 {
	p := buffer(t, 16)
	store64(p, uint64(ns/second))
	store64(p+8, uint64(ns%second))
	return uint64(p)
}

func TestFutexTimeout(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		word, start := uint64(buffer(t, 8)), w.now
		th := call(sysFutex, word, futexWait, 0, timespecOf(t, 3*second))
		if got := int64(th.rax); got != errTIMEOUT {
			t.Errorf("result %d, expected %d", got, errTIMEOUT)
		}
		if d := w.now - start; d < 3*second || d > 3*second+1000 {
			t.Errorf("waited %d ns", d)
		}
		if timed != 0 || waiting != 0 {
			t.Errorf("%d threads timed, %d waiting", timed, waiting)
		}
	})
}

// Threads that sleep run in the order of their deadlines.
func TestSleep(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		start := w.now
		spawn(t)
		spawn(t)
		call(sysNanosleep, timespecOf(t, 30000000))
		nowRuns(t, 1)
		call(sysNanosleep, timespecOf(t, 10000000))
		nowRuns(t, 2)
		call(sysNanosleep, timespecOf(t, 20000000))
		for _, want := range []int32{1, 2, 0} {
			nowRuns(t, want)
			if want != 0 {
				call(sysExit, 0)
			}
		}
		if d := w.now - start; d < 30000000 || d > 30001000 {
			t.Errorf("slept %d ns", d)
		}
	})
}

// A thread that makes system calls which never wait lets others run after its
// time slice.
func TestTimeSlice(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		spawn(t)
		for range 3 {
			call(sysGettid)
			nowRuns(t, 0)
		}
		w.now += 2 * slice
		call(sysGettid)
		nowRuns(t, 1)
		if got := int64(threads[0].rax); got != 1 {
			t.Errorf("result of the call that ended the slice: %d", got)
		}
	})
}

// Random calls of many threads: none is lost, none runs that waits, and each
// finds the result of its own call.
func TestThreadsAtRandom(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		w.step = 100
		rnd := rand.New(rand.NewPCG(3, 4))
		const n, words = 30, 5
		word := uint64(buffer(t, 8*words))
		for range n - 1 {
			spawn(t)
		}
		short := [3]uint64{timespecOf(t, 1000), timespecOf(t, 50000), timespecOf(t, 2000000)}
		ran := [n]int{}
		for step := range 20000 {
			i := current
			if threads[i].state != running {
				t.Fatalf("step %d: thread %d runs in state %d", step, i, threads[i].state)
			}
			ran[i]++
			switch rnd.IntN(5) {
			case 0:
				call(sysYield)
			case 1:
				call(sysNanosleep, short[rnd.IntN(3)])
			case 2:
				call(sysFutex, word+8*uint64(rnd.IntN(words)), futexWait, 0, short[rnd.IntN(3)])
			case 3:
				call(sysFutex, word+8*uint64(rnd.IntN(words)), futexWake, uint64(rnd.IntN(4)))
			case 4:
				if got := result(sysGettid); current == i && got != int64(i)+1 {
					t.Fatalf("step %d: gettid %d in thread %d", step, got, i)
				}
			}
			counted := int32(0)
			for j := range threads[:top] {
				th := &threads[j]
				if th.state > running && th.deadline != never {
					counted++
				}
			}
			if counted != timed || waiting != 0 || top != n {
				t.Fatalf("step %d: %d threads timed, counted %d; %d waiting; %d threads", step, timed, counted, waiting, top)
			}
		}
		for i, r := range ran {
			if r < 20000/n/4 {
				t.Errorf("thread %d ran %d times", i, r)
			}
		}
	})
}
