package kvmhvt

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
	"gocat/internal/testhost"
)

func TestRecord(t *testing.T) {
	for _, want := range []Record{
		{},
		{Kind: RecordDone, Call: 255, Ring: true, Ended: true, Time: -1, Took: 1 << 62, IP: 1, Handle: 2, Offset: 3, Size: 4,
			Timeout: ^uint64(0), Result: 1<<32 - 1, Bytes: 6, Value: 7},
		{Kind: RecordBegan, Call: hcPuts, Ended: true},
		{Kind: RecordStarted, Ring: true, Result: resultAgain},
	} {
		var b [RecordSize]byte
		want.encode(&b)
		var got Record
		if got.Decode(&b); got != want {
			t.Errorf("%+v became %+v", want, got)
		}
	}
}

// readRecords reads all that was written to a pipe.
func readRecords(t *testing.T, r *os.File) (all []Record) {
	t.Helper()
	b := make([]byte, 100*RecordSize)
	n, err := r.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if n%RecordSize != 0 {
		t.Fatalf("%d bytes of records", n)
	}
	for at := 0; at < n; at += RecordSize {
		var rec Record
		rec.Decode((*[RecordSize]byte)(b[at:]))
		all = append(all, rec)
	}
	return all
}

// TestRingRecords has the ring's thread tell what it takes, and what the guest
// gets: also for a handle that is no device's, and nothing for what it skips.
func TestRingRecords(t *testing.T) {
	s := newServices(t)
	pipe, w := testhost.Pipe(t)
	ring := &netRing{s: s, addr: fuzzMemory, b: s.mem.b[fuzzMemory:][:ringSize],
		trace: &tracer{Record: Record{Ring: true}, fd: int(w.Fd()), started: raw.Clock(unix.CLOCK_MONOTONIC)}}
	const data = minBase + 0x3000
	requests := []struct {
		operation, handle uint64
		size              uint64
	}{{ringNetRead, 1, 64}, {ringNetWrite, 1, 5}, {ringNetRead, 2, 7}, {ringNetRead, 9, 1}, {77, 1, 1}}
	for i, q := range requests {
		e := ring.b[ringEntries+i*ringEntrySize:]
		store64(e, 0, q.operation|q.handle<<32)
		store64(e, 8, data)
		store64(e, 16, q.size)
	}
	store32(ring.b, ringEntTail, uint32(len(requests)))
	if err := ring.drain(); err != nil {
		t.Fatal(err)
	}
	got := readRecords(t, pipe)
	want := []Record{
		{Call: hcNetRead, Handle: 1, Size: 64, Bytes: 64},
		{Call: hcNetWrite, Handle: 1, Size: 5, Bytes: 5},
		{Call: hcNetRead, Handle: 2, Size: 7}, // its end
		{Call: hcNetRead, Handle: 9, Size: 1, Result: resultEINVAL},
	}
	if len(got) != 2*len(want) {
		t.Fatalf("%d records: %+v", len(got), got)
	}
	for i, w := range want {
		began, done := got[2*i], got[2*i+1]
		if began.Kind != RecordBegan || !began.Ring || began.Handle != w.Handle || began.Size != w.Size || began.Call != w.Call {
			t.Errorf("request %d began as %+v", i, began)
		}
		w.Kind, w.Ring, w.Time, w.Took = RecordDone, true, began.Time, done.Took
		if done != w {
			t.Errorf("request %d: %+v, want %+v", i, done, w)
		}
	}
}

// TestTraceEnds: a trace that nobody reads any more ends the guest.
func TestTraceEnds(t *testing.T) {
	s := newServices(t)
	pipe, w := testhost.Pipe(t)
	s.trace = &tracer{fd: int(w.Fd()), started: raw.Clock(unix.CLOCK_MONOTONIC)}
	pipe.Close()
	s.trace.start(hcPuts, 0)
	var why *stop
	if err := s.trace.done(nil); !errors.As(err, &why) || why.signal != int(unix.SIGPIPE) || why.status != 128+int(unix.SIGPIPE) {
		t.Errorf("%+v", why)
	}
	if err := s.trace.done(errOther); err != errOther {
		t.Errorf("the first error became %v", err)
	}
}
