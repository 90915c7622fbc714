package kvmhvt

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// TestNoAllocation shows that serving a guest allocates nothing, since the
// garbage collector is off meanwhile.
func TestNoAllocation(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testNoAllocation(t, false) })
	t.Run("traced", func(t *testing.T) { testNoAllocation(t, true) })
}

func testNoAllocation(t *testing.T, traced bool) {
	s := newServices(t)
	var ringTrace *tracer
	if traced {
		fd := open(t, os.DevNull, unix.O_WRONLY)
		s.trace = &tracer{fd: fd, started: raw.Clock(unix.CLOCK_MONOTONIC)}
		ringTrace = &tracer{Record: Record{Ring: true}, fd: fd, started: raw.Clock(unix.CLOCK_MONOTONIC)}
	}
	const at, data = minBase + 0x2000, minBase + 0x3000
	for _, tt := range []struct {
		name string
		nr   int
		args []uint64
	}{
		{"walltime", hcWalltime, nil},
		{"puts", hcPuts, []uint64{data, 16}},
		{"poll", hcPoll, []uint64{0}},
		{"block read", hcBlockRead, []uint64{3, 512, data, 512}},
		{"block write", hcBlockWrite, []uint64{3, 512, data, 512}},
		{"net read", hcNetRead, []uint64{1, data, 64}},
		{"net write", hcNetWrite, []uint64{1, data, 64}},
		{"bad handle", hcNetWrite, []uint64{9, data, 64}},
	} {
		n := testing.AllocsPerRun(100, func() {
			for i, v := range tt.args {
				store64(s.mem.b, at+8*i, v)
			}
			if traced {
				s.trace.start(tt.nr, 0)
			}
			_, err := s.hypercall(tt.nr, at)
			if traced {
				err = s.trace.done(err)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
	emulateTables(s.mem.b)
	c := &cpu{mem: s.mem, regs: &regs{rsp: modelEnd}, idt: dtable{base: emulateIDT, limit: 0xfff}, timer: s.mem.b[emulateTick:][:image.TimerSize]}
	n := testing.AllocsPerRun(100, func() {
		if err := c.reflect(vectorTimer, 0); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("interrupting: %v allocations", n)
	}
	s.waits.always = 0
	if n := testing.AllocsPerRun(20, func() { s.waits.wait(1000) }); n != 0 {
		t.Errorf("waiting: %v allocations", n)
	}
	r := &netRing{s: s, addr: fuzzMemory, b: s.mem.b[fuzzMemory:][:ringSize], trace: ringTrace}
	n = testing.AllocsPerRun(100, func() {
		e := r.b[ringEntries+r.entHead%ringSlots*ringEntrySize:]
		store64(e, 0, ringNetRead|1<<32)
		store64(e, 8, data)
		store64(e, 16, 64)
		store32(r.b, ringEntTail, r.entHead+1)
		if err := r.drain(); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("ring: %v allocations", n)
	}
}
