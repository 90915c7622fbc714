package trace

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/image"
	"gocat/internal/supervise"
	"gocat/internal/tender"
	"gocat/kvmhvt"
)

// hvtSource runs an hvt guest in another process and reads what its tender
// tells. The tender confines itself as without a trace.
type hvtSource struct {
	*supervisor
	manifest image.Manifest
	symbols  symbols
	args     []string // of the command line
}

func newHVT(s *supervisor, g *tender.Guest, o Options) *hvtSource {
	return &hvtSource{s, g.Image.Manifest, symbols{file: g.File}, o.Args}
}

// run runs the guest and returns how the tender ended.
func (h *hvtSource) run() (unix.WaitStatus, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return 0, os.NewSyscallError("pipe2", err)
	}
	r := os.NewFile(uintptr(fds[0]), "records")
	defer r.Close()
	unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, 1<<20) // fewer waits, where it may be so large
	pid, err := h.tend(fds[1])
	unix.Close(fds[1])
	if err != nil {
		return 0, err
	}
	h.Adopt(pid)
	lost := h.read(r)
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return ws, errors.Join(lost, err)
		}
	}
}

// tend starts the tender, with descriptor w for its records.
func (h *hvtSource) tend(w int) (pid int, err error) {
	// The child inherits it by its number.
	if _, err := unix.FcntlInt(uintptr(w), unix.F_SETFD, 0); err != nil {
		return 0, os.NewSyscallError("fcntl", err)
	}
	args := append([]string{os.Args[0], tender.TendCommand, strconv.Itoa(w)}, h.args...)
	return supervise.Start("/proc/self/exe", args, os.Environ(), false)
}

// read passes records on until there are no more.
func (h *hvtSource) read(r io.Reader) error {
	buf, n := make([]byte, 512*kvmhvt.RecordSize), 0
	for {
		k, err := r.Read(buf[n:])
		n += k
		done := 0
		for ; n-done >= kvmhvt.RecordSize; done += kvmhvt.RecordSize {
			var rec kvmhvt.Record
			rec.Decode((*[kvmhvt.RecordSize]byte)(buf[done:]))
			h.record(&rec)
		}
		n = copy(buf, buf[done:n])
		switch {
		case err == io.EOF && n == 0:
			return nil
		case err == io.EOF:
			return errors.New("trace: the last record is incomplete")
		case err != nil:
			return fmt.Errorf("trace: %w", err)
		}
	}
}

// names of hypercalls, by number.
var hypercalls = [...]string{1: "walltime", "puts", "poll", "block_write", "block_read", "net_write", "net_read", "halt"}

var results = [...]string{resultOK, "AGAIN", "EINVAL", "EUNSPEC"}

// record passes a record on as an event.
func (h *hvtSource) record(r *kvmhvt.Record) {
	e := Event{Kind: Done, Ring: r.Ring, Time: r.Time, Took: r.Took, Bytes: -1, Result: resultOK}
	switch r.Kind {
	case kvmhvt.RecordStarted:
		h.started(time.Now())
		return
	case kvmhvt.RecordBegan:
		e.Kind, e.Result = Began, ""
	}
	if int(r.Call) < len(hypercalls) && r.Call > 0 {
		e.Call = hypercalls[r.Call]
	} else {
		e.Call = "hypercall " + strconv.Itoa(int(r.Call))
	}
	if r.IP != 0 {
		e.Caller = h.symbols.at(r.IP)
	}
	h.describe(&e, r)
	if r.Kind == kvmhvt.RecordBegan || r.Ended {
		e.Bytes, e.Out = -1, nil
	}
	if r.Ended {
		e.Result = resultStopped
	}
	h.events <- e
}

// describe adds arguments and results.
func (h *hvtSource) describe(e *Event, r *kvmhvt.Record) {
	switch r.Call {
	case abi.Walltime:
		now := time.Unix(0, int64(r.Value)).UTC().Format(time.RFC3339Nano)
		e.Out = []Value{text("time", now)}
	case abi.Puts:
		e.Args, e.Bytes = []Value{size(r.Size)}, int64(r.Bytes)
	case abi.Poll:
		e.Args = []Value{timeout(time.Duration(min(r.Timeout, math.MaxInt64)))}
		e.Out = []Value{ready(h.handles(r.Value))}
	case abi.BlockWrite, abi.BlockRead:
		h.transfer(e, r)
		e.Args = append(e.Args, at(r.Offset))
	case abi.NetWrite, abi.NetRead:
		h.transfer(e, r)
	case abi.Halt:
		e.Args, e.Result = []Value{exitStatus(int32(r.Result))}, ""
	}
}

// transfer describes a call on a device.
func (h *hvtSource) transfer(e *Event, r *kvmhvt.Record) {
	e.Device = h.device(r.Handle)
	e.Args = []Value{text("device", e.Device), size(r.Size)}
	if h.unknown(r.Handle) {
		e.Device = "" // the summary must not grow with what a guest makes up
	}
	if r.Kind != kvmhvt.RecordDone {
		return
	}
	if e.Result = "result " + strconv.FormatUint(uint64(r.Result), 10); int(r.Result) < len(results) {
		e.Result = results[r.Result]
	}
	if e.Result == resultOK {
		e.Bytes = int64(r.Bytes)
	}
}

// device names the device of a handle.
func (h *hvtSource) device(handle uint64) string {
	if h.unknown(handle) {
		return "handle " + strconv.FormatUint(handle, 10)
	}
	return h.manifest[handle].Name
}

func (h *hvtSource) unknown(handle uint64) bool {
	return handle == 0 || handle >= uint64(len(h.manifest))
}

// handles names the devices of a set of handles.
func (h *hvtSource) handles(set uint64) (names []string) {
	for handle := range uint64(64) {
		if set&(1<<handle) != 0 {
			names = append(names, h.device(handle))
		}
	}
	return names
}
