package kvmhvt

import (
	"bytes"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// TestRingChanges has a guest change its requests while they are served: good
// ones become such as must not be, and good again. The tender takes each as it
// was at one moment, and never writes where the guest could not.
func TestRingChanges(t *testing.T) {
	s := newServices(t)
	for i := range s.mem.b[:modelData] {
		s.mem.b[i] = 0xa5 // the device reads zeros
	}
	before := bytes.Clone(s.mem.b[:modelData])
	r := &netRing{s: s, addr: fuzzMemory, b: s.mem.b[fuzzMemory:][:ringSize], kick: -1}
	past := bytes.Clone(s.mem.b[fuzzMemory+ringSize:])

	var done atomic.Bool
	ended := make(chan int)
	go func() {
		n := 0
		for ; !done.Load(); n++ {
			e := r.b[ringEntries+n%ringSlots*ringEntrySize:]
			// Text, constants, low memory, past the end; and what is right.
			data := []uint64{minBase, modelData - 4096, bootInfoAddr, modelEnd - 8}[n/ringSlots/2%4]
			store64(e, 0, ringNetRead|1<<32)
			store64(e, 16, 64)
			if pass := n / ringSlots; pass%2 == 0 {
				data = modelData + 0x1000
			}
			store64(e, 8, data)
			if n%64 == 0 {
				runtime.Gosched()
			}
		}
		ended <- n
	}()
	served, refused := 0, 0
	for start := time.Now(); ; {
		if took := time.Since(start); took > 300*time.Millisecond && served > 0 && refused > 0 || took > 20*time.Second {
			break
		}
		head := r.entHead
		r.field(ringEntTail).Store(head + ringSlots)
		err := r.drain()
		var why *stop
		if err != nil && !errors.As(err, &why) {
			t.Error(err)
			break
		}
		served += int(r.entHead - head)
		if err != nil {
			refused++
			r.entHead++
		}
	}
	done.Store(true)
	changes := <-ended
	t.Logf("%d requests served, %d refused, %d changed", served, refused, changes)
	if !bytes.Equal(before, s.mem.b[:modelData]) || !bytes.Equal(past, s.mem.b[fuzzMemory+ringSize:]) {
		t.Error("memory changed that the guest cannot write")
	}
	if served == 0 || refused == 0 || changes == 0 {
		t.Error("nothing happened")
	}
}
