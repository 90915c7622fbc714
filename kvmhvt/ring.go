package kvmhvt

import (
	"math"

	"gocat/internal/raw"
)

// The network ring (Solo5 hvt_ring.h, since 0.11): offsets and sizes in bytes.
// The guest appends requests and takes results; the tender does the opposite when
// the guest writes to port portKick. Each index is a free-running counter with one
// writer.
const (
	ringSlots   = 1024
	ringEntTail = 0  // u32, the guest's: requests made
	ringComHead = 4  // u32, the guest's: results taken
	ringEntHead = 64 // u32, the tender's: requests served
	ringComTail = 68 // u32, the tender's: results given
	ringKick    = 72 // u32, the tender's: it wants port portKick written; always 1
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

// netRing serves the network ring.
type netRing struct {
	s     *services
	addr  uint64  // guest address: past the end of the memory that the guest is told of
	b     []byte  // guest memory, ringSize bytes
	trace *tracer // nil unless the guest is traced

	entHead, comTail uint32 // the tender's indices; what guest memory says of them is ignored
	empty            uint64 // handles, as bits, that had nothing to read in this drain
}

// newNetRing puts a ring after the end of the guest's memory.
func newNetRing(t *tender) *netRing {
	addr := t.layout.size
	r := raw.New[netRing]()
	r.s, r.addr, r.b = &t.services, addr, t.machine.mem[addr:][:ringSize]
	store32(r.b, ringKick, 1)
	return r
}

// pending is how many requests wait. A guest that claims more than the ring
// holds gets the ring's contents served once more, which harms only itself.
func (r *netRing) pending() uint32 {
	return min(load32(r.b, ringEntTail)-r.entHead, ringSlots)
}

// drain serves the requests that wait now. Those that come meanwhile are for
// the next time, so that it ends.
func (r *netRing) drain() error {
	r.empty = 0
	for n := r.pending(); n > 0; n-- {
		e := r.entry(r.entHead)
		var err error
		if r.trace != nil {
			err = r.tracedRequest(e)
		} else {
			err = r.request(e)
		}
		if err != nil {
			return err
		}
		r.entHead++
		store32(r.b, ringEntHead, r.entHead)
	}
	return nil
}

// request serves one request, a read or a write. It skips any other, as
// upstream does.
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
	r.s.stats.BytesOut += uint64(n)
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
		result = resultAgain
		if bit := uint64(1) << e.handle; r.empty&bit == 0 {
			if n, result, err = d.read(b); err != nil {
				return err
			}
			if result == resultAgain {
				r.empty |= bit
			}
		}
		r.s.stats.BytesIn += uint64(n)
	}
	if r.trace != nil {
		r.trace.Result, r.trace.Bytes = result, uint64(n)
	}
	b := r.b[ringResults+r.comTail%ringSlots*ringResultSize:][:ringResultSize]
	store32(b, 0, e.id)
	store32(b, 4, result)
	store32(b, 8, uint32(min(n, math.MaxInt32)))
	r.comTail++
	store32(r.b, ringComTail, r.comTail)
	return nil
}
