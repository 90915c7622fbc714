// Package tended starts the tender of an hvt guest in another process, which stops the
// guest for this one, and talks to it over a socket (package kvmhvt, debug.go).
package tended

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/supervise"
	"gocat/kvmhvt"
)

// Guest is an hvt guest in the process PID. Only one goroutine uses it.
type Guest struct {
	PID    int
	fd     int
	packet [kvmhvt.DebugData + 64]byte
}

// ErrAnswer says that the tender does not keep to the protocol.
var ErrAnswer = errors.New("the guest's tender does not answer as it should")

// Start starts this program with a command line that is made for a descriptor, which is
// the tender's end of the socket. The program's first descriptors are copies of files;
// it is killed when the calling thread ends, which must be locked. Its environment is
// this one's and env.
func Start(files []uintptr, args func(fd int) []string, env ...string) (*Guest, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(fds[1])
	g := &Guest{fd: fds[0]}
	if _, err = unix.FcntlInt(uintptr(fds[1]), unix.F_SETFD, 0); err != nil {
		err = os.NewSyscallError("fcntl", err)
	} else {
		g.PID, err = supervise.StartWith(files, "/proc/self/exe", args(fds[1]), append(os.Environ(), env...), false)
	}
	if err != nil {
		unix.Close(g.fd)
		return nil, err
	}
	return g, nil
}

// FD returns the descriptor that can be read when the guest has stopped, or its tender
// ended.
func (g *Guest) FD() int { return g.fd }

// Stop is why the guest has stopped, with the numbers of the reason.
type Stop struct {
	Reason kvmhvt.DebugReason
	A, B   uint64
}

// Next waits until the guest stops; gone says that its tender has ended instead.
func (g *Guest) Next() (s Stop, gone bool, err error) {
	n, err := g.receive()
	if err != nil || n == 0 {
		return s, err == nil, err
	}
	if n != 32 {
		return s, false, ErrAnswer
	}
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(g.packet[8*i:]) }
	return Stop{kvmhvt.DebugReason(word(1)), word(2), word(3)}, false, nil
}

// receive receives a packet; 0 bytes are the tender's end.
func (g *Guest) receive() (int, error) {
	for {
		n, err := unix.Read(g.fd, g.packet[:])
		switch err {
		case nil:
			return n, nil
		case unix.ECONNRESET:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

func (g *Guest) send(op kvmhvt.DebugOp, addr, n uint64, data []byte) error {
	b := make([]byte, 0, 24+len(data))
	for _, w := range []uint64{uint64(op), addr, n} {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	_, err := unix.Write(g.fd, append(b, data...))
	return err
}

// Ask sends a request to the tender of a stopped guest, and returns the answer's number
// and data. The data are valid until the next call.
func (g *Guest) Ask(op kvmhvt.DebugOp, addr, n uint64, data []byte) (uint64, []byte, error) {
	if err := g.send(op, addr, n, data); err != nil {
		return 0, nil, err
	}
	got, err := g.receive()
	if err != nil {
		return 0, nil, err
	}
	if got < 16 {
		return 0, nil, ErrAnswer
	}
	if errno := binary.LittleEndian.Uint64(g.packet[:]); errno != 0 {
		return 0, nil, unix.Errno(errno & 4095)
	}
	return binary.LittleEndian.Uint64(g.packet[8:]), g.packet[16:got], nil
}

// Resume lets the guest go on, by one instruction or until its next stop, with a signal
// or 0.
func (g *Guest) Resume(step bool, signal int) error {
	one := uint64(0)
	if step {
		one = 1
	}
	return g.send(kvmhvt.DebugResume, one, uint64(signal), nil)
}

// Wait waits for the tender's end.
func (g *Guest) Wait() (ws unix.WaitStatus, err error) {
	for {
		_, err = unix.Wait4(g.PID, &ws, 0, nil)
		switch err {
		case nil:
			return ws, nil
		case unix.EINTR:
		default:
			return ws, fmt.Errorf("wait for the guest: %w", err)
		}
	}
}

// Kill ends the tender, and the guest with it.
func (g *Guest) Kill() {
	unix.Kill(g.PID, unix.SIGKILL)
	g.Wait()
	unix.Close(g.fd)
}
