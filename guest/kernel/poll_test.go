package kernel

import "testing"

// pollOf is a struct pollfd in guest memory.
func pollOf(t *testing.T, fds ...[2]uint64) uint64 {
	p := buffer(t, uintptr(len(fds))*pollSize+1)
	for i, f := range fds {
		store32(p+uintptr(i)*pollSize, uint32(f[0]))
		store16(p+uintptr(i)*pollSize+4, uint16(f[1]))
	}
	return uint64(p)
}

func TestPoll(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		const in, out, forEver = epollIn, epollOut, 1<<64 - 1
		fds := buffer(t, 8)
		result(sysPipe2, uint64(fds), 0)
		r, wr := uint64(load32(fds)), uint64(load32(fds+4))
		p := pollOf(t, [2]uint64{r, in}, [2]uint64{wr, in | out}, [2]uint64{99, in}, [2]uint64{1<<32 - 1, in})
		if n := result(sysPoll, p, 1, 0); n != 0 {
			t.Errorf("an empty pipe: %d", n)
		}
		start := w.now
		if th := call(sysPoll, p, 1, 3000); int64(th.rax) != 0 || w.now-start < 3*second {
			t.Errorf("after %d ns: %d", w.now-start, int64(th.rax))
		}
		if n := result(sysPoll, p, 4, forEver); n != 2 {
			t.Errorf("%d are ready, expected 2", n)
		}
		for i, want := range []uint16{0, out, pollInvalid, 0} {
			if got := load16(uintptr(p) + uintptr(i)*pollSize + 6); got != want {
				t.Errorf("descriptor %d: %#x, expected %#x", i, got, want)
			}
		}
		// Input of a device ends the wait, of poll and of select.
		for range 2 {
			w.arrives = []arrival{{w.now + second, stdinHandle, "x"}}
			p = pollOf(t, [2]uint64{r, in}, [2]uint64{0, in})
			if th := call(sysPoll, p, 2, forEver); int64(th.rax) != 1 || load16(uintptr(p)+pollSize+6) != in {
				t.Errorf("with input: %d", int64(th.rax))
			}
			b := uint64(buffer(t, 8))
			for result(sysRead, 0, b, 8) > 0 {
			}
			set := buffer(t, 128)
			store64(set, 1<<0|1<<r)
			w.arrives = []arrival{{w.now + second, stdinHandle, "x"}}
			if th := call(sysSelect, r+1, uint64(set), 0, 0); int64(th.rax) != 1 || load64(set) != 1 {
				t.Errorf("select: %d, %#x", int64(th.rax), load64(set))
			}
			for result(sysRead, 0, b, 8) > 0 {
			}
		}
		if n := result(sysPoll, p, maxFiles+1, 0); n != errINVAL {
			t.Errorf("too many: %d", n)
		}
	})
}

// A select that ends without anything leaves its sets empty.
func TestSelectTimeout(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		fds := buffer(t, 8)
		result(sysPipe2, uint64(fds), 0)
		r := uint64(load32(fds))
		set := buffer(t, 128)
		store64(set, 1<<r)
		start, th := w.now, &threads[current]
		th.r8 = timespecOf(t, 2*second)
		call(sysPselect, r+1, uint64(set), 0, 0)
		if int64(th.rax) != 0 || load64(set) != 0 || w.now-start < 2*second {
			t.Errorf("after %d ns: %d, %#x", w.now-start, int64(th.rax), load64(set))
		}
		store64(set, 1<<60)
		if n := result(sysSelect, 61, uint64(set), 0, 0); n != errBADF {
			t.Errorf("what is closed: %d", n)
		}
	})
}
