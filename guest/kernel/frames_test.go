package kernel

import (
	"slices"
	"testing"

	"gocat/internal/abi"
)

// framesTest runs a test on both back ends, on hvt with and without the ring.
func framesTest(t *testing.T, f func(t *testing.T, w *host)) {
	both(t, f)
	t.Run("ring", func(t *testing.T) {
		w := boot(t, targetHVT, "")
		Ring = uint64(buffer(t, abi.RingSize))
		t.Cleanup(func() { Ring = 0 })
		// Indices wrap around, those of the ring and those of 32 bits.
		for _, at := range []uintptr{abi.RingEntTail, abi.RingEntHead, abi.RingComTail, abi.RingComHead} {
			store32(uintptr(Ring)+at, 1<<32-2)
		}
		f(t, w)
	})
}

// frames is a vector of n buffers of size bytes.
func frames(t *testing.T, n, size uintptr) uint64 {
	vec := buffer(t, n*iovecSize)
	fill(t, vec, n, size)
	return uint64(vec)
}

func fill(t *testing.T, vec, n, size uintptr) {
	b := buffer(t, n*size)
	for i := range n {
		store64(vec+i*iovecSize, uint64(b+i*size))
		store64(vec+i*iovecSize+8, uint64(size))
	}
}

// got has the frames of a vector.
func got(vec uint64, n int64) (all []string) {
	for i := range n {
		v := uintptr(vec) + uintptr(i)*iovecSize
		if size := load64(v + 8); size == noFrame {
			all = append(all, "none")
		} else {
			all = append(all, str(load64(v), int64(size)))
		}
	}
	return all
}

// watchedNet opens the network device, not to block, and has an epoll descriptor say,
// in the events at ev, when frames come.
func watchedNet(t *testing.T) (fd, ep, ev uint64) {
	const at, nonblock = 1<<64 - 100, 0x800
	fd = uint64(result(sysOpenat, at, text(t, "/dev/solo5/net"), 2|nonblock))
	ep, ev = uint64(result(sysEpollCreate, 0)), uint64(buffer(t, 8*epollEvent))
	store32(uintptr(ev), epollIn|epollEdge)
	result(sysEpollControl, ep, epollAdd, fd, ev)
	return fd, ep, ev
}

func TestFrames(t *testing.T) {
	framesTest(t, func(t *testing.T, w *host) {
		fd, ep, ev := watchedNet(t)
		told := func() int64 { return result(sysEpollWait, ep, ev, 8, 0) }

		vec := frames(t, 4, 2)
		if r := result(abi.CallReadFrames, fd, vec, 4); r != errAGAIN {
			t.Fatalf("nothing there: %d", r)
		}
		if n := told(); n != 0 {
			t.Errorf("the poller tells of %d", n)
		}
		w.input[netHandle] = []byte("abcdefg")
		if n := told(); n != 1 {
			t.Errorf("the poller tells of %d", n)
		}
		vec = frames(t, 3, 2)
		if r := result(abi.CallReadFrames, fd, vec, 3); r != 3 || !slices.Equal(got(vec, r), []string{"ab", "cd", "ef"}) {
			t.Fatalf("%d: %q", r, got(vec, 3))
		}
		if n := told(); n != 0 { // all were looked for: the caller has to go on
			t.Errorf("the poller tells of %d", n)
		}
		vec = frames(t, 3, 2)
		if r := result(abi.CallReadFrames, fd, vec, 3); r != 1 || !slices.Equal(got(vec, r), []string{"g"}) {
			t.Fatalf("%d: %q", r, got(vec, 3))
		}
		w.input[netHandle] = []byte("hi")
		if n := told(); n != 1 { // once more, as a read found nothing
			t.Errorf("the poller tells of %d", n)
		}
		w.closed[netHandle] = true
		vec = frames(t, 3, 2)
		if r := result(abi.CallReadFrames, fd, vec, 3); r < 2 || !slices.Equal(got(vec, 2), []string{"hi", ""}) {
			t.Fatalf("at the end: %d: %q", r, got(vec, 2))
		}
	})
}

// Frames that come while others are looked for are found, or told of.
func TestFramesMeanwhile(t *testing.T) {
	framesTest(t, func(t *testing.T, w *host) {
		fd, ep, ev := watchedNet(t)
		w.input[netHandle] = []byte("abcdefghijkl")
		var all string
		for i := range 100 {
			w.misses = i % 2
			if result(sysEpollWait, ep, ev, 8, 0) == 0 {
				break
			}
			for {
				vec := frames(t, 4, 2)
				r := result(abi.CallReadFrames, fd, vec, 4)
				for _, s := range got(vec, max(r, 0)) {
					if s != "none" {
						all += s
					}
				}
				if r < 4 {
					break
				}
			}
		}
		if all != "abcdefghijkl" {
			t.Errorf("%q", all)
		}
	})
}

func TestWriteFrames(t *testing.T) {
	framesTest(t, func(t *testing.T, w *host) {
		vec := frames(t, 3, 2)
		for i, s := range []string{"ab", "cd", "ef"} {
			copy(bytes(uintptr(load64(uintptr(vec)+uintptr(i)*iovecSize)), 2), s)
		}
		if r := result(abi.CallWriteFrames, netHandle, vec, 3); r != 3 || string(w.sent[netHandle]) != "abcdef" {
			t.Errorf("%d: %q", r, w.sent[netHandle])
		}
		for _, c := range []struct {
			handle, n uint64
		}{{diskHandle, 1}, {0, 1}, {maxDevices, 1}, {netHandle, 0}, {netHandle, maxFrames + 1}} {
			if r := result(abi.CallWriteFrames, c.handle, vec, c.n); r != errINVAL {
				t.Errorf("%d frames to device %d: %d", c.n, c.handle, r)
			}
		}
		for fd, want := range map[uint64]int64{1: errINVAL, 9: errBADF} {
			if r := result(abi.CallReadFrames, fd, vec, 1); r != want {
				t.Errorf("read of descriptor %d: %d", fd, r)
			}
		}
	})
}

// A device that is full takes the rest later.
func TestWriteFramesWaits(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		vec := frames(t, 2, 1)
		w.full = 2
		if r := result(abi.CallWriteFrames, netHandle, vec, 2); r != 2 || len(w.sent[netHandle]) != 2 {
			t.Errorf("%d: %q", r, w.sent[netHandle])
		}
	})
}

// Frames that follow others closely wait in the ring for the next exit, in order, and the
// program may use their memory again.
func TestQueuedFrames(t *testing.T) {
	w := boot(t, targetHVT, "")
	Ring = uint64(buffer(t, abi.RingSize))
	t.Cleanup(func() { Ring, queue.exit, queue.last = 0, 0, 0; served() })
	const exit, long = 5000, exits*5000 + 1 // ns, and counts
	vec := frames(t, 1, 4096)
	want := ""
	send := func(s string) {
		t.Helper()
		queue.exit = exit
		store64(uintptr(vec)+8, uint64(len(s)))
		copy(bytes(uintptr(load64(uintptr(vec))), 4096), s)
		if r := result(abi.CallWriteFrames, netHandle, vec, 1); r != 1 {
			t.Fatalf("%.9q: %d", s, r)
		}
		want += s
	}
	sent := func(s string) {
		t.Helper()
		if got := string(w.sent[netHandle]); got != s {
			t.Fatalf("sent %.99q (%d), want %.99q (%d)", got, len(got), s, len(s))
		}
	}
	wait := func() { w.now += long }
	wait()
	send("a")
	sent("a") // it follows none
	send("b")
	send("c")
	sent("a")
	for name, exits := range map[string]func(){
		"poll": func() { pollHost(0) },
		"time": func() { wait(); result(sysGetpid) },
		"read": func() {
			fd := uint64(result(sysOpenat, 1<<64-100, text(t, "/dev/solo5/net"), 2|0x800))
			result(abi.CallReadFrames, fd, frames(t, 1, 8), 1)
		},
		"other call": func() { netWrite(netHandle, uintptr(load64(uintptr(vec))), 0) },
		"timer":      func() { Tick() },
		"late frame": func() { wait(); send("l") },
		"long frame": func() {
			for range queueSize/4096 + 1 {
				send(string(make([]byte, 4096)))
			}
		},
		"many": func() {
			for range mostQueued + 1 {
				send("m")
			}
		},
	} {
		exits()
		if n := len(want) - len(w.sent[netHandle]); name != "many" && name != "long frame" && n != 0 || n > 4096 || want[:len(want)-n] != string(w.sent[netHandle]) {
			t.Errorf("%s: %d bytes wait", name, n)
		}
		send("x")
		before := want
		send("y")
		if string(w.sent[netHandle]) == before+"y" {
			t.Errorf("after %s a frame does not wait", name)
		}
	}
}

// A frame that is longer than the queue does not wait in it, although it follows another
// closely and the queue is empty.
func TestFrameLongerThanQueue(t *testing.T) {
	w := boot(t, targetHVT, "")
	Ring = uint64(buffer(t, abi.RingSize))
	t.Cleanup(func() { Ring, queue.exit, queue.last = 0, 0, 0; served() })
	const size = queueSize + 8
	vec := frames(t, 1, size)
	sent := 0
	for range 3 {
		queue.exit = 5000
		store64(uintptr(vec)+8, size)
		if r := result(abi.CallWriteFrames, netHandle, vec, 1); r != 1 {
			t.Fatal(r)
		}
		if sent += size; len(w.sent[netHandle]) != sent || queue.frames != 0 {
			t.Fatalf("%d bytes sent of %d, %d frames wait", len(w.sent[netHandle]), sent, queue.frames)
		}
	}
}
