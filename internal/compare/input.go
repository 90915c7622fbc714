package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/pty"
)

// input is one opened source, for one run.
type input struct {
	stdin  *os.File      // the tender's descriptor 0; nil for a tap
	device string        // what --net attaches: @0 or an interface
	data   []byte        // all that is sent
	empty  int           // how many bytes precede an empty datagram; -1: there is none
	idle   []*os.File    // other sides of what is attached to the guest's other devices
	writer *os.File      // the other side; nil if there is nobody to write
	piece  int           // how much one write takes, in bytes; 0: all
	pause  time.Duration // before each piece
	end    func() error  // makes the end of the input; nil: it has none
	fed    atomic.Int64  // bytes written so far
}

// close closes what is still open. feed returns.
func (in *input) close() {
	for _, f := range append(in.idle, in.stdin, in.writer) {
		if f != nil {
			f.Close()
		}
	}
}

// ours makes a pollable file of a descriptor, so that closing it ends a write.
func ours(fd int) *os.File {
	unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), "input")
}

// theirs makes a file of a descriptor that a tender inherits as it is.
func theirs(fd int) *os.File { return os.NewFile(uintptr(fd), "stdin") }

// feed writes the data and makes the end. A reader that goes away is no error
// of ours.
func (in *input) feed(ctx context.Context) error {
	rest := in.data
	for len(rest) > 0 && in.writer != nil {
		if int(in.fed.Load()) == in.empty {
			if err := in.sendEmpty(); err != nil {
				return err
			}
		}
		piece := rest
		if in.piece > 0 {
			piece = rest[:min(in.piece, len(rest))]
		}
		if err := sleep(ctx, in.pause); err != nil {
			return err
		}
		n, err := in.writer.Write(piece)
		in.fed.Add(int64(n))
		rest = rest[n:]
		switch {
		case errors.Is(err, unix.ENOBUFS): // a tap: no reader yet, or its queue is full
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	if in.end != nil {
		return in.end()
	}
	return nil
}

// sendEmpty writes an empty datagram, which os.File.Write would not.
func (in *input) sendEmpty() error {
	raw, err := in.writer.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		_, sent = unix.Write(int(fd), nil)
		return sent != unix.EAGAIN
	})
	return errors.Join(err, sent)
}

// control calls f with the writer's descriptor, unless that is closed.
func (in *input) control(f func(fd int) error) error {
	raw, err := in.writer.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Control(func(fd uintptr) { result = f(int(fd)) })
	return errors.Join(err, result)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func openPipe(size int, closed bool) func() (*input, error) {
	return func() (*input, error) {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("pipe2: %w", err)
		}
		in := &input{stdin: theirs(fds[0]), device: "@0", data: data(size), empty: -1, writer: ours(fds[1])}
		if closed {
			in.end = in.writer.Close
		}
		return in, nil
	}
}

func openSlowPipe() (*input, error) {
	in, err := openPipe(5*pieceSize, true)()
	if err == nil {
		in.piece, in.pause = pieceSize, 30*time.Millisecond
	}
	return in, err
}

func openFile() (*input, error) {
	fd, err := unix.MemfdCreate("data", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	in := &input{stdin: theirs(fd), device: "@0", data: data(bulkSize), empty: -1}
	if _, err := in.stdin.WriteAt(in.data, 0); err != nil {
		in.close()
		return nil, fmt.Errorf("write to a memfd: %w", err)
	}
	return in, nil
}

func openNull() (*input, error) {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/null: %w", err)
	}
	return &input{stdin: theirs(fd), device: "@0", empty: -1}, nil
}

func openTTY() (*input, error) {
	master, slave, err := pty.Open(unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	in := &input{stdin: theirs(slave), device: "@0", data: lines(), empty: -1, writer: ours(master)}
	in.end = func() error {
		_, err := in.writer.WriteString("\x04")
		return err
	}
	if err := errors.Join(pty.SetRaw(slave), pty.SetCanonical(slave)); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// openSocket makes a connection on which data is sent in pieces.
func openSocket(typ int, data []byte, piece int) (*input, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	in := &input{stdin: theirs(fds[0]), device: "@0", data: data, empty: -1, writer: ours(fds[1]), piece: piece}
	if typ != unix.SOCK_DGRAM {
		in.end = func() error {
			return in.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
		}
	}
	return in, nil
}

func openStream() (*input, error) { return openSocket(unix.SOCK_STREAM, data(bulkSize), 0) }

func openSeqpacket() (*input, error) {
	return openSocket(unix.SOCK_SEQPACKET, data(pieces*pieceSize), pieceSize)
}

func openDatagram(empty bool) func() (*input, error) {
	return func() (*input, error) {
		in, err := openSocket(unix.SOCK_DGRAM, data(pieces*pieceSize), pieceSize)
		if err == nil && empty {
			in.empty = emptyAfter * pieceSize
		}
		return in, err
	}
}
