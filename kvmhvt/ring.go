package kvmhvt

import (
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The network ring (Solo5 hvt_ring.h, since 0.11): offsets and sizes in bytes.
// The guest appends requests and takes results; a thread of the tender does the
// opposite. Each index is a free-running counter with one writer.
const (
	ringSlots   = 1024
	ringEntTail = 0  // u32, the guest's: requests made
	ringComHead = 4  // u32, the guest's: results taken
	ringEntHead = 64 // u32, the tender's: requests served
	ringComTail = 68 // u32, the tender's: results given
	ringKick    = 72 // u32, the tender's: it sleeps and wants port portKick written
	ringEntries = 128
	ringResults = ringEntries + ringSlots*ringEntrySize
	ringSize    = ringResults + ringSlots*ringResultSize

	ringEntrySize  = 32 // u32 operation, handle; u64 data; u32 len, id; u64
	ringResultSize = 16 // u32 id; i32 ret; u32 len; u32

	ringNetWrite = 1
	ringNetRead  = 2

	// ringReserve is what a ring takes of guest memory.
	ringReserve = (ringSize + blockSize - 1) / blockSize * blockSize
)

// ringSpin is how long the ring's thread looks for requests before it sleeps.
// Longer spinning takes a processor from the guest where there are only two.
const ringSpin = 20 * time.Microsecond

// netRing serves the network ring.
type netRing struct {
	s    *services
	addr uint64 // guest address: behind what the guest is told to be its memory
	b    []byte // guest memory, ringSize bytes
	kick int    // eventfd that KVM signals on a write to portKick

	stopped atomic.Bool // asks the ring's thread to end
	ended   atomic.Bool // it has
	trace   *tracer     // nil unless the guest is traced

	entHead, comTail uint32 // the tender's indices; what guest memory says of them is ignored
}

// newNetRing puts a ring behind the guest's memory and lets port portKick
// signal an eventfd.
func newNetRing(t *tender) (*netRing, error) {
	addr := t.layout.size
	kick, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, &Error{"create eventfd for the network ring", err, ""}
	}
	r := &netRing{s: &t.services, addr: addr, b: t.machine.mem[addr:][:ringSize], kick: kick}
	if err := t.machine.kickOn(kick); err != nil {
		unix.Close(kick)
		return nil, err
	}
	return r, nil
}

func (r *netRing) close() { unix.Close(r.kick) }

// serve serves requests until it is stopped, and then those that are left. An
// error ends the guest.
func (r *netRing) serve() error {
	for !r.stopped.Load() {
		if r.spin() {
			if err := r.drain(); err != nil {
				return err
			}
			continue
		}
		if err := r.sleep(); err != nil {
			return err
		}
	}
	return r.drain()
}

// sleep waits for a kick, unless there are requests.
func (r *netRing) sleep() error {
	// The guest looks at kick after it has appended, this looks for requests
	// after it has set kick: one of the two sees the other. Go's atomic stores
	// are full barriers on x86-64.
	r.field(ringKick).Store(1)
	defer r.field(ringKick).Store(0)
	if r.pending() != 0 {
		return nil
	}
	var count [8]byte
	_, err := unix.Read(r.kick, count[:])
	if err != nil && err != unix.EINTR {
		return stopf("Could not wait for the network ring: %v", err)
	}
	return nil
}

// stop makes serve end.
func (r *netRing) stop() {
	r.stopped.Store(true)
	unix.Write(r.kick, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // fails only when it is signalled already
}

// spin waits for requests for ringSpin.
func (r *netRing) spin() bool {
	for start := time.Now(); ; {
		for range 64 {
			if r.pending() != 0 {
				return true
			}
			pause()
		}
		if time.Since(start) > ringSpin {
			return false
		}
	}
}

// pending is how many requests wait. A guest that claims more than the ring
// holds gets the ring's contents served once more, which harms only itself.
func (r *netRing) pending() uint32 {
	return min(r.field(ringEntTail).Load()-r.entHead, ringSlots)
}

// drain serves the requests that wait now. Those that come meanwhile are for
// the next time, so that it ends.
func (r *netRing) drain() error {
	for n := r.pending(); n > 0; n-- {
		e := r.entry(r.entHead)
		var err error
		if r.trace != nil {
			err = r.traced(e)
		} else {
			err = r.request(e)
		}
		if err != nil {
			return err
		}
		r.entHead++
		r.field(ringEntHead).Store(r.entHead)
	}
	return nil
}

// request serves one request. What is neither is skipped, as upstream does.
func (r *netRing) request(e ringEntry) error {
	switch e.operation {
	case ringNetWrite:
		return r.write(e)
	case ringNetRead:
		return r.read(e)
	}
	return nil
}

// ringEntry is a request, copied from guest memory: the guest may be changing
// it at this moment.
type ringEntry struct {
	operation, handle uint32
	data              uint64
	length, id        uint32
}

func (r *netRing) entry(index uint32) ringEntry {
	b := r.b[ringEntries+index%ringSlots*ringEntrySize:][:ringEntrySize]
	first, data, last := load64(b, 0), load64(b, 8), load64(b, 16)
	return ringEntry{
		operation: uint32(first), handle: uint32(first >> 32), data: data,
		length: uint32(last), id: uint32(last >> 32),
	}
}

// write sends a packet. Nobody waits for the result, and there is none.
func (r *netRing) write(e ringEntry) error {
	d := byHandle(&r.s.nets, uint64(e.handle))
	if d == nil {
		return nil
	}
	b, err := r.s.mem.readable("net write by ring", e.data, uint64(e.length))
	if err != nil {
		return err
	}
	n, result, err := d.send(&r.s.waits, b)
	if r.trace != nil {
		r.trace.Result, r.trace.Bytes = result, uint64(n)
	}
	return err
}

// read receives a packet and gives the result.
func (r *netRing) read(e ringEntry) error {
	result, n := uint32(resultEINVAL), 0
	if d := byHandle(&r.s.nets, uint64(e.handle)); d != nil {
		b, err := r.s.mem.writable("net read by ring", e.data, uint64(e.length))
		if err != nil {
			return err
		}
		if n, result, err = d.read(b); err != nil {
			return err
		}
	}
	if r.trace != nil {
		r.trace.Result, r.trace.Bytes = result, uint64(n)
	}
	b := r.b[ringResults+r.comTail%ringSlots*ringResultSize:][:ringResultSize]
	store32(b, 0, e.id)
	store32(b, 4, result)
	store32(b, 8, uint32(min(n, math.MaxInt32)))
	r.comTail++
	r.field(ringComTail).Store(r.comTail)
	return nil
}

// startRing serves the ring in a thread of its own and sends how that ended.
func (t *tender) startRing(ended chan<- error) {
	go func() {
		runtime.LockOSThread()
		err := t.ring.serve()
		runtime.UnlockOSThread()
		t.ring.ended.Store(true)
		ended <- err
	}()
}
