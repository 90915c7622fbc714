package kernel

import (
	stdbytes "bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"gocat/internal/abi"
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
		{"/dev/solo5/", errISDIR, modeDir | 0o111},
		{"/dev/solo5/dis", errNOENT, 0},
		{"/dev/solo5/disk2", errNOENT, 0},
		{"/dev/solo5/" + strings.Repeat("x", 256), errNAMETOOLONG, 0},
		{"/dev/solo5/" + strings.Repeat("x", 5000), errNAMETOOLONG, 0},
		{"/etc/shadow", errNOENT, 0},
		{"/dev/null/x", errNOTDIR, 0},
		{"", errNOENT, 0},
	} {
		if got := result(sysOpenat, at, text(t, c.path), 2); got != c.want {
			t.Errorf("open %.20q: %d, expected %d", c.path, got, c.want)
		}
		st := buffer(t, statSize)
		if got := result(sysNewfstatat, at, text(t, c.path), uint64(st)); got != min(c.want, 0) && c.mode == 0 {
			t.Errorf("stat %.20q: %d", c.path, got)
		}
		if mode := load32(st+statMode) &^ modeRW; mode != c.mode {
			t.Errorf("stat %.20q: mode %o, expected %o", c.path, mode, c.mode)
		}
	}
	n := int64(6)
	for null := text(t, "/dev/null"); result(sysOpenat, at, null, 0) == n; n++ {
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
		if got := result(abi.CallInfo, p); got != 0 || load64(uintptr(p)) != Target || load64(uintptr(p)+24) != uint64(memory.limit) {
			t.Errorf("info: %d", got)
		}
		for h, want := range map[uint64]int64{0: errNOENT, stdinHandle: 0, netHandle: 0, netHandle + 1: errNOENT, 1 << 63: errNOENT} {
			if got := result(abi.CallDevice, h, p); got != want {
				t.Errorf("device %d: %d, expected %d", h, got, want)
			}
		}
		for name, c := range map[string][2]int64{
			"net read of a block device": {result(abi.CallNetRead, diskHandle, p, 1), errINVAL},
			"block read of a net":        {result(abi.CallBlockRead, netHandle, 0, p, diskBlock), errINVAL},
			"block read, size":           {result(abi.CallBlockRead, diskHandle, 0, p, 100), errINVAL},
			"block read, offset":         {result(abi.CallBlockRead, diskHandle, 100, p, diskBlock), errINVAL},
			"block read, end":            {result(abi.CallBlockRead, diskHandle, uint64(len(w.block)), p, diskBlock), errINVAL},
			"block write":                {result(abi.CallBlockWrite, diskHandle, diskBlock, p, diskBlock), 0},
			"net read, nothing there":    {result(abi.CallNetRead, netHandle, p, 100), errAGAIN},
			"net write":                  {result(abi.CallNetWrite, netHandle, p, 100), 100},
			"yield without waiting":      {result(abi.CallYield, 0, 1<<netHandle), 0},
			"unknown":                    {result(abi.CallDevice+99, 0), errNOSYS},
		} {
			if c[0] != c[1] {
				t.Errorf("%s: %d, expected %d", name, c[0], c[1])
			}
		}
		start := w.now
		if got := int64(call(abi.CallYield, uint64(monotonic()+second), 1<<netHandle).rax); got != 0 || w.now < start+second {
			t.Errorf("yield: %d after %d ns", got, w.now-start)
		}
		w.arrives = []arrival{{w.now + second, netHandle, "packet"}}
		if got := int64(call(abi.CallYield, uint64(monotonic()+9*second), 1<<netHandle).rax); got != 1<<netHandle {
			t.Errorf("yield: %#x", got)
		}
		if n := result(abi.CallNetRead, netHandle, p, 100); str(p, n) != "packet" {
			t.Errorf("read %q", str(p, n))
		}
		w.arrives = []arrival{{w.now + second, netHandle, "next"}}
		if n := int64(call(abi.CallWaitRead, netHandle, p, 100).rax); str(p, n) != "next" {
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

// What dup makes shares the offset, the flags and the lock, as on Linux, and
// closing one leaves the other.
func TestDup(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		const at, rw, create, nonblock = 1<<64 - 100, 2, 0x40, 0x800
		path := text(t, "/tmp/dup")
		a := uint64(result(sysOpenat, at, path, rw|create, 0o600))
		b := uint64(result(sysDup, a))
		if got := result(sysWrite, a, text(t, "abcdef"), 6); got != 6 {
			t.Fatalf("write: %d", got)
		}
		if got := result(sysLseek, b, 0, seekCurrent); got != 6 {
			t.Errorf("offset of the other: %d", got)
		}
		result(sysLseek, b, 2, seekSet)
		p := uint64(buffer(t, 8))
		if got := result(sysRead, a, p, 2); got != 2 || str(p, 2) != "cd" {
			t.Errorf("read: %d %q", got, str(p, 2))
		}
		result(sysFcntl, a, fcntlSetFlags, nonblock)
		if got := result(sysFcntl, b, fcntlGetFlags); got&nonblock == 0 {
			t.Errorf("flags of the other: %#x", got)
		}
		const exclusive, dontWait = 2, 4
		other := uint64(result(sysOpenat, at, path, rw))
		result(sysFlock, a, exclusive)
		result(sysClose, a)
		if got := result(sysFlock, other, exclusive|dontWait); got != errAGAIN {
			t.Errorf("a lock that a descriptor still has: %d", got)
		}
		if got := result(sysRead, b, p, 8); got != 2 || str(p, 2) != "ef" {
			t.Errorf("read: %d %q", got, str(p, 2))
		}
		if got := result(sysFcntl, b, fcntlDup, 50); got != 50 {
			t.Errorf("F_DUPFD from 50: %d", got)
		}
		result(sysClose, b)
		result(sysClose, 50)
		if got := result(sysFlock, other, exclusive|dontWait); got != 0 {
			t.Errorf("a lock that nobody has: %d", got)
		}
	})
}

func TestDup2(t *testing.T) {
	both(t, func(t *testing.T, w *host) {
		const at = 1<<64 - 100
		fds := buffer(t, 8)
		if got := result(sysPipe2, uint64(fds), 0); got != 0 {
			t.Fatalf("pipe2: %d", got)
		}
		r, wr := uint64(load32(fds)), uint64(load32(fds+4))
		for _, c := range []struct {
			nr, from, to uint64
			want         int64
		}{
			{sysDup2, wr, 2, 2}, {sysDup2, 2, 2, 2}, {sysDup3, 2, 2, errINVAL}, {sysDup2, 99, 2, errBADF},
			{sysDup2, 2, maxFiles, errBADF}, {sysDup2, wr, 40, 40},
		} {
			if got := result(c.nr, c.from, c.to); got != c.want {
				t.Errorf("%d(%d, %d): %d, expected %d", c.nr, c.from, c.to, got, c.want)
			}
		}
		result(sysWrite, 2, text(t, "error"), 5)
		p := uint64(buffer(t, 8))
		if got := result(sysRead, r, p, 8); got != 5 || str(p, 5) != "error" || len(w.console) != 0 {
			t.Errorf("read: %d %q, console %q", got, str(p, 5), w.console)
		}
		// The end comes when the last one that writes is closed.
		for _, fd := range []uint64{wr, 2, 40} {
			result(sysFcntl, r, fcntlSetFlags, 0x800)
			if got := result(sysRead, r, p, 8); got != errAGAIN {
				t.Errorf("before %d is closed: %d", fd, got)
			}
			result(sysClose, fd)
		}
		if got := result(sysRead, r, p, 8); got != 0 {
			t.Errorf("end: %d", got)
		}
		if got := result(sysOpenat, at, text(t, "/dev/null"), 0); got != 2 {
			t.Errorf("the lowest free descriptor: %d", got)
		}
	})
}
