package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// services is what hypercalls act on. It knows nothing of KVM.
type services struct {
	mem     guestMemory
	console console
	waits   waitSet
	nets    [image.MaxEntries]*netDevice   // by handle
	blocks  [image.MaxEntries]*blockDevice // by handle
	stats   Counters
	status  int     // the guest's exit status, once it has halted
	trace   *tracer // nil unless the guest is traced
}

// hypercall serves number nr with the argument structure at addr, and says
// whether that was the last. An error is a *stop.
func (s *services) hypercall(nr int, addr uint64) (halted bool, err error) {
	s.stats.Hypercalls++
	switch nr {
	case hcWalltime:
		return false, s.walltime(addr)
	case hcPuts:
		return false, s.puts(addr)
	case hcPoll:
		return false, s.poll(addr)
	case hcBlockWrite:
		return false, s.blockWrite(addr)
	case hcBlockRead:
		return false, s.blockRead(addr)
	case hcNetWrite:
		return false, s.netWrite(addr)
	case hcNetRead:
		return false, s.netRead(addr)
	case hcHalt:
		return true, s.halt(addr)
	}
	return false, because("Invalid guest hypercall: num=").decimal(uint64(nr)).err()
}

// walltime: struct hvt_hc_walltime {out u64 nsecs}.
func (s *services) walltime(addr uint64) error {
	arg, err := s.mem.writable("walltime", addr, 8)
	if err != nil {
		return err
	}
	now := uint64(raw.Clock(unix.CLOCK_REALTIME))
	store64(arg, 0, now)
	if s.trace != nil {
		s.trace.Value = now
	}
	return nil
}

// puts: struct hvt_hc_puts {u64 data, len}.
func (s *services) puts(addr uint64) error {
	arg, err := s.mem.readable("puts", addr, 16)
	if err != nil {
		return err
	}
	data, size := load64(arg, 0), load64(arg, 8)
	if s.trace != nil {
		s.trace.Size = size
		s.trace.began()
	}
	b, err := s.mem.readable("puts", data, size)
	if err != nil {
		return err
	}
	if err := s.console.write(b); err != nil {
		return err
	}
	s.stats.BytesOut += size
	if s.trace != nil {
		s.trace.Bytes = size
	}
	return nil
}

// poll: struct hvt_hc_poll {u64 timeout_nsecs; out u64 ready_set; out int ret}.
func (s *services) poll(addr uint64) error {
	arg, err := s.mem.writable("poll", addr, pollSize)
	if err != nil {
		return err
	}
	return s.pollFor(arg, load64(arg, 0))
}

// pollSize is the size in bytes of struct hvt_hc_poll.
const pollSize = 24

// pollFor is poll with a timeout in ns.
func (s *services) pollFor(arg []byte, timeout uint64) error {
	s.stats.Polls++
	if s.trace != nil {
		s.trace.Timeout = timeout
		s.trace.began()
	}
	ready, n, err := s.waits.wait(timeout)
	if err != nil {
		return err
	}
	if s.trace != nil {
		s.trace.Value, s.trace.Result = ready, uint32(n)
	}
	store64(arg, 8, ready)
	store32(arg, 16, uint32(n))
	return nil
}

// halt: struct hvt_hc_halt {u64 cookie; int exit_status}.
func (s *services) halt(addr uint64) error {
	arg, err := s.mem.readable("halt", addr, 16)
	if err != nil {
		return err
	}
	if cookie := load64(arg, 0); cookie != 0 {
		if _, err := s.mem.readable("halt cookie", cookie, haltCookieMax); err != nil {
			return err
		}
	}
	s.status = int(int32(load64(arg, 8)))
	return nil
}

// transfer is the common part of struct hvt_hc_block_* and hvt_hc_net_*.
type transfer struct {
	arg          []byte // the structure, in guest memory
	handle       uint64
	offset       uint64 // block devices only
	data, length uint64
	ret          int // offset of the field ret
	trace        *tracer
}

// blockTransfer reads {u64 handle, offset, data, len; out int ret}.
func (s *services) blockTransfer(what string, addr uint64) (t transfer, err error) {
	if t.arg, err = s.mem.writable(what, addr, 40); err != nil {
		return t, err
	}
	t.handle, t.offset, t.data, t.length, t.ret = load64(t.arg, 0), load64(t.arg, 8), load64(t.arg, 16), load64(t.arg, 24), 32
	s.traceTransfer(&t)
	return t, nil
}

// netTransfer reads {u64 handle, data, len; out int ret}.
func (s *services) netTransfer(what string, addr uint64) (t transfer, err error) {
	if t.arg, err = s.mem.writable(what, addr, 32); err != nil {
		return t, err
	}
	t.handle, t.data, t.length, t.ret = load64(t.arg, 0), load64(t.arg, 8), load64(t.arg, 16), 24
	s.traceTransfer(&t)
	return t, nil
}

// traceTransfer tells the trace, if there is one, what the transfer will do.
func (s *services) traceTransfer(t *transfer) {
	if s.trace != nil {
		t.trace = s.trace
		t.trace.Handle, t.trace.Offset, t.trace.Size = t.handle, t.offset, t.length
		t.trace.began()
	}
}

// result stores the result of a transfer of n bytes.
func (t *transfer) result(r uint32, n int) {
	store32(t.arg, t.ret, r)
	if t.trace != nil {
		t.trace.Result, t.trace.Bytes = r, uint64(n)
	}
}

// finish stores the length that was transferred and success.
func (t *transfer) finish(n int) {
	store64(t.arg, t.ret-8, uint64(n))
	t.result(resultOK, n)
}

// byHandle returns the device of a handle, or nil.
func byHandle[T any](table *[image.MaxEntries]*T, handle uint64) *T {
	if handle >= uint64(len(table)) {
		return nil
	}
	return table[handle]
}
