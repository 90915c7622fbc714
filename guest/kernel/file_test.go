package kernel

import (
	stdbytes "bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// str is what a string of n bytes at p says.
func str(p uint64, n int64) string { return string(bytes(uintptr(p), uintptr(max(n, 0)))) }

func TestConsole(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		for _, fd := range []uint64{1, 2} {
			if got := result(sysWrite, fd, text(t, "hello"), 5); got != 5 {
				t.Errorf("write: %d", got)
			}
		}
		if string(w.console) != "hellohello" {
			t.Errorf("console %q", w.console)
		}
		if got := result(sysRead, 1, text(t, ""), 1); got != errINVAL {
			t.Errorf("read: %d", got)
		}
	})
}

func TestOpen(t *testing.T) {
	boot(t, targetSPT, "")
	const at = 1<<64 - 100 // AT_FDCWD
	for _, c := range []struct {
		path string
		want int64
		mode uint32
	}{
		{"/dev/null", 3, modeChar},
		{"/dev/solo5/stdin", 4, modeChar},
		{"/dev/solo5/disk", 5, modeBlock},
		{"/dev/solo5/", errNOENT, 0},
		{"/dev/solo5/dis", errNOENT, 0},
		{"/dev/solo5/disk2", errNOENT, 0},
		{"/dev/solo5/" + strings.Repeat("x", 5000), errNOENT, 0},
		{"/etc/passwd", errNOENT, 0},
		{"", errNOENT, 0},
	} {
		if got := result(sysOpenat, at, text(t, c.path), 2); got != c.want {
			t.Errorf("open %.20q: %d, expected %d", c.path, got, c.want)
		}
		st := buffer(t, statSize)
		if got := result(sysNewfstatat, at, text(t, c.path), uint64(st)); got != min(c.want, 0) {
			t.Errorf("stat %.20q: %d", c.path, got)
		}
		if mode := load32(st+statMode) &^ modeRW; mode != c.mode {
			t.Errorf("stat %.20q: mode %o, expected %o", c.path, mode, c.mode)
		}
	}
	n := int64(6)
	for ; result(sysOpenat, at, text(t, "/dev/null"), 0) == n; n++ {
	}
	if n != maxFiles {
		t.Errorf("%d descriptors, expected %d", n, maxFiles)
	}
	if got := result(sysClose, 4); got != 0 {
		t.Errorf("close: %d", got)
	}
	if got := result(sysClose, 4); got != errBADF {
		t.Errorf("second close: %d", got)
	}
	if got := result(sysOpenat, at, text(t, "/dev/null"), 0); got != 4 {
		t.Errorf("open: %d, expected the lowest", got)
	}
	for _, fd := range []uint64{maxFiles, 1 << 40, 1<<64 - 1} {
		if got := result(sysRead, fd, text(t, ""), 1); got != errBADF {
			t.Errorf("read of %d: %d", int64(fd), got)
		}
	}
}

// Descriptor 0 is the device stdin, without blocking: Go's poller waits.
func TestStdinEdges(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		p, ev := uint64(buffer(t, 100)), uint64(buffer(t, 8*epollEvent))
		if got := result(sysRead, 0, p, 100); got != errAGAIN {
			t.Fatalf("read: %d", got)
		}
		ep := uint64(result(sysEpollCreate, 0))
		event := text(t, strings.Repeat("x", epollEvent))
		store32(uintptr(event), epollIn|epollOut|epollRdHup|epollEdge)
		store64(uintptr(event)+4, 42)
		if got := result(sysEpollControl, ep, epollAdd, 0, event); got != 0 {
			t.Fatalf("epoll_ctl: %d", got)
		}
		wait := func(timeout int64) (uint32, int64) {
			n := int64(call(sysEpollWait, ep, ev, 8, uint64(timeout)).rax)
			if n == 1 && load64(uintptr(ev)+4) != 42 {
				t.Errorf("event for %d", load64(uintptr(ev)+4))
			}
			return load32(uintptr(ev)), n
		}
		if e, n := wait(0); n != 1 || e != epollOut {
			t.Errorf("at first: %d events, %#x", n, e)
		}
		if _, n := wait(0); n != 0 {
			t.Errorf("again: %d events", n)
		}
		w.arrives = []arrival{{w.now + second, stdinHandle, "abc"}, {w.now + 2*second, stdinHandle, ""}}
		if e, n := wait(-1); n != 1 || e != epollIn || w.now != 6*second {
			t.Errorf("%d events, %#x, after %d ns", n, e, w.now-5*second)
		}
		w.step = 100000 // waiting with unread input takes looks at the clock
		if _, n := wait(100); n != 0 || w.now < 6*second+100000000 {
			t.Errorf("an edge told of twice, or %d ns", w.now-6*second)
		}
		if n := result(sysRead, 0, p, 100); str(p, n) != "abc" {
			t.Errorf("read %q", str(p, n))
		}
		if n := result(sysRead, 0, p, 100); n != errAGAIN {
			t.Errorf("read: %d", n)
		}
		if e, n := wait(-1); n != 1 || e != epollIn {
			t.Errorf("at the end: %d events, %#x", n, e)
		}
		if n := result(sysRead, 0, p, 100); n != 0 {
			t.Errorf("read at the end: %d", n)
		}
	})
}

// A thread that writes to an eventfd wakes one that waits in epoll_pwait.
func TestEventFD(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		ev, one := uint64(buffer(t, epollEvent)), uint64(buffer(t, 8))
		store64(uintptr(one), 1)
		ep, fd := uint64(result(sysEpollCreate, 0)), uint64(result(sysEventFD, 0, openNonblk))
		store32(uintptr(ev), epollIn)
		result(sysEpollControl, ep, epollAdd, fd, ev)
		child := spawn(t)
		th := call(sysEpollWait, ep, ev, 1, 1<<64-1)
		nowRuns(t, child)
		if got := result(sysWrite, fd, one, 8); got != 8 {
			t.Errorf("write: %d", got)
		}
		call(sysNanosleep, timespecOf(t, 1000))
		nowRuns(t, 0)
		if th.rax != 1 {
			t.Errorf("%d events", int64(th.rax))
		}
		if got := result(sysRead, fd, one, 8); got != 8 || load64(uintptr(one)) != 1 {
			t.Errorf("read: %d, count %d", got, load64(uintptr(one)))
		}
		if got := result(sysRead, fd, one, 8); got != errAGAIN {
			t.Errorf("read of an empty one: %d", got)
		}
	})
}

// A pipe against a buffer, with transfers of random sizes.
func TestPipe(t *testing.T) {
	boot(t, targetSPT, "")
	rnd := rand.New(rand.NewPCG(5, 6))
	fds := uint64(buffer(t, 8))
	before := memory
	if got := result(sysPipe2, fds, openNonblk); got != 0 {
		t.Fatal(got)
	}
	r, w := uint64(load32(uintptr(fds))), uint64(load32(uintptr(fds)+4))
	p := uint64(buffer(t, 2*pipeSize))
	var model stdbytes.Buffer
	next := byte(0)
	for step := range 5000 {
		n := uint64(rnd.IntN(pipeSize))
		if rnd.IntN(2) == 0 {
			for i := range n {
				store8(uintptr(p+i), next+byte(i))
			}
			got := result(sysWrite, w, p, n)
			if room := pipeSize - model.Len(); got > int64(room) || got == errAGAIN && room > pageSize {
				t.Fatalf("step %d: wrote %d of %d bytes with room for %d", step, got, n, room)
			}
			if got > 0 {
				model.Write(bytes(uintptr(p), uintptr(got)))
				next += byte(got)
			}
		} else if got := result(sysRead, r, p, n); got > 0 {
			if want := model.Next(int(got)); str(p, got) != string(want) {
				t.Fatalf("step %d: read something else", step)
			}
		} else if n > 0 && (got != errAGAIN || model.Len() > 0) {
			t.Fatalf("step %d: read %d, and there are %d bytes", step, got, model.Len())
		}
	}
	if got := result(sysClose, w); got != 0 {
		t.Error("close:", got)
	}
	for result(sysRead, r, p, pipeSize) > 0 {
	}
	if got := result(sysRead, r, p, 1); got != 0 {
		t.Errorf("read at the end: %d", got)
	}
	result(sysClose, r)
	munmap(uintptr(p), 2*pipeSize)
	if memory.n != before.n {
		t.Errorf("%d regions of memory after a pipe, %d before", memory.n, before.n)
	}
}

// A blocking pipe lets threads wait for each other.
func TestPipeBlocks(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		fds, p := uint64(buffer(t, 8)), uint64(buffer(t, pipeSize))
		result(sysPipe2, fds, 0)
		r, wr := uint64(load32(uintptr(fds))), uint64(load32(uintptr(fds)+4))
		child := spawn(t)
		reader := call(sysRead, r, p, 100)
		nowRuns(t, child)
		result(sysWrite, wr, text(t, "data"), 4)
		call(sysYield)
		nowRuns(t, 0)
		if str(p, int64(reader.rax)) != "data" {
			t.Errorf("read %d", int64(reader.rax))
		}
		if got := result(sysWrite, wr, p, pipeSize); got != pipeSize {
			t.Fatalf("write: %d", got)
		}
		writer := call(sysWrite, wr, p, 10)
		nowRuns(t, child)
		result(sysClose, r)
		call(sysYield)
		nowRuns(t, 0)
		if got := int64(writer.rax); got != errPIPE {
			t.Errorf("write without a reader: %d", got)
		}
	})
}

// Writing to a device that takes nothing waits and tries again.
func TestDeviceFull(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		w.full = 3
		start := w.now
		if got := int64(call(sysWrite, 0, text(t, "packet"), 6).rax); got != 6 || string(w.sent[stdinHandle]) != "packet" {
			t.Errorf("wrote %d, sent %q", got, w.sent[stdinHandle])
		}
		if d := w.now - start; d < 3*pause {
			t.Errorf("tried again after %d ns", d)
		}
	})
}

// A block device as a file: any offset, any size, against an array.
func TestBlockFile(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		rnd := rand.New(rand.NewPCG(7, 8))
		fd := uint64(result(sysOpenat, 0, text(t, "/dev/solo5/disk"), 2))
		p := uint64(buffer(t, 8192))
		model := stdbytes.Clone(w.block)
		for step := range 2000 {
			at, n := rnd.IntN(len(model)+300), rnd.IntN(2*diskBlock)
			want := max(0, min(n, len(model)-at))
			if rnd.IntN(2) == 0 {
				for i := range n {
					store8(uintptr(p)+uintptr(i), byte(rnd.Uint32()))
				}
				got := result(sysPwrite, fd, p, uint64(n), uint64(at))
				if at >= len(model) && n > 0 {
					want = errNOSPC
				} else {
					copy(model[min(at, len(model)):], bytes(uintptr(p), uintptr(want)))
				}
				if got != int64(want) {
					t.Fatalf("step %d: wrote %d of %d at %d, expected %d", step, got, n, at, want)
				}
			} else if got := result(sysPread, fd, p, uint64(n), uint64(at)); got != int64(want) || str(p, got) != string(model[min(at, len(model)):][:want]) {
				t.Fatalf("step %d: read %d of %d at %d, expected %d", step, got, n, at, want)
			}
		}
		if !stdbytes.Equal(model, w.block) {
			t.Error("the device differs")
		}
		if got := result(sysLseek, fd, 0, seekEnd); got != int64(len(model)) {
			t.Errorf("lseek: %d", got)
		}
		if got := result(sysRead, fd, p, 10); got != 0 {
			t.Errorf("read at the end: %d", got)
		}
	})
}

// The calls of package guest/solo5.
func TestSolo5Calls(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		p := uint64(buffer(t, 8192))
		if got := result(callInfo, p); got != 0 || load64(uintptr(p)) != Target || load64(uintptr(p)+24) != uint64(memory.limit) {
			t.Errorf("info: %d", got)
		}
		for h, want := range map[uint64]int64{0: errNOENT, stdinHandle: 0, netHandle: 0, netHandle + 1: errNOENT, 1 << 63: errNOENT} {
			if got := result(callDevice, h, p); got != want {
				t.Errorf("device %d: %d, expected %d", h, got, want)
			}
		}
		for name, c := range map[string][2]int64{
			"net read of a block device": {result(callNetRead, diskHandle, p, 1), errINVAL},
			"block read of a net":        {result(callBlockRead, netHandle, 0, p, diskBlock), errINVAL},
			"block read, size":           {result(callBlockRead, diskHandle, 0, p, 100), errINVAL},
			"block read, offset":         {result(callBlockRead, diskHandle, 100, p, diskBlock), errINVAL},
			"block read, end":            {result(callBlockRead, diskHandle, uint64(len(w.block)), p, diskBlock), errINVAL},
			"block write":                {result(callBlockWrite, diskHandle, diskBlock, p, diskBlock), 0},
			"net read, nothing there":    {result(callNetRead, netHandle, p, 100), errAGAIN},
			"net write":                  {result(callNetWrite, netHandle, p, 100), 100},
			"yield without waiting":      {result(callYield, 0, 1<<netHandle), 0},
			"unknown":                    {result(sysSolo5+99, 0), errNOSYS},
		} {
			if c[0] != c[1] {
				t.Errorf("%s: %d, expected %d", name, c[0], c[1])
			}
		}
		start := w.now
		if got := int64(call(callYield, uint64(monotonic()+second), 1<<netHandle).rax); got != 0 || w.now < start+second {
			t.Errorf("yield: %d after %d ns", got, w.now-start)
		}
		w.arrives = []arrival{{w.now + second, netHandle, "packet"}}
		if got := int64(call(callYield, uint64(monotonic()+9*second), 1<<netHandle).rax); got != 1<<netHandle {
			t.Errorf("yield: %#x", got)
		}
		if n := result(callNetRead, netHandle, p, 100); str(p, n) != "packet" {
			t.Errorf("read %q", str(p, n))
		}
		w.arrives = []arrival{{w.now + second, netHandle, "next"}}
		if n := int64(call(callWaitRead, netHandle, p, 100).rax); str(p, n) != "next" {
			t.Errorf("waited for %q", str(p, n))
		}
	})
}

// With input that nobody reads, waiting for something else ends on time.
func TestUnreadInput(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		w.step = 50000
		w.input[netHandle] = []byte("unread")
		start := w.now
		call(sysNanosleep, timespecOf(t, 10000000))
		if d := w.now - start; d < 10000000 || d > 20000000 {
			t.Errorf("slept %d ns", d)
		}
	})
}
