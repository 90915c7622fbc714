package kernel

import (
	stdbytes "bytes"
	"math/rand/v2"
	"testing"
)

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
