package kvmhvt

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// RecordKind says what a Record tells of.
type RecordKind uint8

// Kinds of records.
const (
	RecordStarted RecordKind = 1 + iota // the guest is about to run; Time is 0
	RecordBegan                         // the call begins, and may wait: what it gives is not known yet
	RecordDone                          // the call is over
)

// Record is what Config.Trace is told of the guest. Numbers are those that the
// tender used, copied from guest memory once.
type Record struct {
	Kind  RecordKind
	Call  uint8 // hypercall number (enum hvt_hypercall); of the ring the one that does the same
	Ring  bool  // taken from the network ring
	Ended bool  // the guest was ended instead of getting a result

	Time time.Duration // when the call began, since the guest started
	Took time.Duration
	IP   uint64 // guest address of the OUT instruction, or past it; 0 of the ring

	Handle, Offset, Size uint64 // of devices; Size also of puts
	Timeout              uint64 // of poll, in nanoseconds

	Result uint32 // solo5_result_t; of poll the number of devices ready; of halt the exit status
	Bytes  uint64 // transferred
	Value  uint64 // of poll the handles ready; of walltime the nanoseconds since 1970
}

// RecordSize is how many bytes a Record takes as it is written. It is below
// PIPE_BUF, so that those of two threads do not mix in a pipe.
const RecordSize = 10 * 8

// Flags in the first word of a written record, above kind and call.
const (
	recordRing  = 1 << 16
	recordEnded = 1 << 17
)

func (r *Record) encode(b *[RecordSize]byte) {
	head := uint64(r.Kind) | uint64(r.Call)<<8 | uint64(r.Result)<<32
	if r.Ring {
		head |= recordRing
	}
	if r.Ended {
		head |= recordEnded
	}
	for i, v := range [...]uint64{head, uint64(r.Time), uint64(r.Took), r.IP,
		r.Handle, r.Offset, r.Size, r.Timeout, r.Bytes, r.Value} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
}

// Decode reads a record as it was written.
func (r *Record) Decode(b *[RecordSize]byte) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	head := word(0)
	*r = Record{
		Kind: RecordKind(head), Call: uint8(head >> 8), Ring: head&recordRing != 0, Ended: head&recordEnded != 0,
		Result: uint32(head >> 32), Time: time.Duration(word(1)), Took: time.Duration(word(2)), IP: word(3),
		Handle: word(4), Offset: word(5), Size: word(6), Timeout: word(7), Bytes: word(8), Value: word(9),
	}
}

// tracer writes records. It leaves it to the reader to make words of them.
type tracer struct {
	Record
	fd      int
	started int64 // by the monotonic clock, in nanoseconds
	buf     [RecordSize]byte
}

// start prepares the records of a call.
func (t *tracer) start(call int, ip uint64) {
	t.Record = Record{Call: uint8(call), Ring: t.Ring, IP: ip, Time: t.now()}
}

// now is the time since the guest started.
func (t *tracer) now() time.Duration {
	return time.Duration(raw.Clock(unix.CLOCK_MONOTONIC) - t.started)
}

// began tells that the call begins. Where that fails, done will.
func (t *tracer) began() { t.write(RecordBegan) }

// done tells how the call that failed with err, or nil, was served. It returns
// err, or why there is nobody to tell.
func (t *tracer) done(err error) error {
	t.Ended = err != nil
	t.Took = t.now() - t.Time
	if failed := t.write(RecordDone); err == nil {
		err = failed
	}
	return err
}

// write waits while the reader takes nothing, so that no record is lost.
func (t *tracer) write(kind RecordKind) error {
	t.Kind = kind
	t.encode(&t.buf)
	for {
		switch _, errno := writeOnce(t.fd, t.buf[:]); errno {
		case 0:
			return nil
		case unix.EINTR:
		case unix.EPIPE:
			return brokenPipe("trace")
		default:
			return because("Could not write the trace: ").errno(errno).err()
		}
	}
}

// prepareTrace makes the tracers that c.Trace asks for.
func (t *tender) prepareTrace() {
	fd := t.config.Trace
	if fd == NoFD {
		return
	}
	t.services.trace = raw.New[tracer]()
	t.services.trace.fd = fd
	if t.ring != nil {
		t.ring.trace = raw.New[tracer]()
		t.ring.trace.fd, t.ring.trace.Ring = fd, true
	}
}

// startTrace begins the trace.
func (t *tender) startTrace() error {
	s := t.services.trace
	if s == nil {
		return nil
	}
	s.started = raw.Clock(unix.CLOCK_MONOTONIC)
	if t.ring != nil {
		t.ring.trace.started = s.started
	}
	return s.write(RecordStarted)
}

// tracedHypercall is services.hypercall with a trace.
func (t *tender) tracedHypercall(nr int, addr uint64) (halted bool, err error) {
	if err := t.machine.getRegs(); err != nil {
		return false, err
	}
	s := &t.services
	s.trace.start(nr, t.machine.regs.rip)
	halted, err = s.hypercall(nr, addr)
	if nr == hcHalt {
		s.trace.Result = uint32(s.status)
	}
	return halted, s.trace.done(err)
}

// tracedRequest is netRing.request with a trace.
func (r *netRing) tracedRequest(e ringEntry) error {
	call := hcNetRead
	switch e.operation {
	case ringNetWrite:
		call = hcNetWrite
	case ringNetRead:
	default:
		return nil
	}
	t := r.trace
	t.start(call, 0)
	t.Handle, t.Size, t.Result = uint64(e.handle), uint64(e.length), resultEINVAL
	t.began()
	return t.done(r.request(e))
}
