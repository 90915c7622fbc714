package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/device"
)

// netDevice is a network device of the guest.
type netDevice struct {
	name       string
	port       device.Port
	endsStream bool // a read of 0 bytes is the end of the stream
	terminal   bool // EIO is the end: the far side is closed
	other      bool // none of the usual kinds, which may never say that it can be written to
}

func (s *services) netRead(addr uint64) error {
	t, err := s.netTransfer("net read", addr)
	if err != nil {
		return err
	}
	d := byHandle(&s.nets, t.handle)
	if d == nil {
		t.result(resultEINVAL, 0)
		return nil
	}
	b, err := s.mem.writable("net read", t.data, t.length)
	if err != nil {
		return err
	}
	n, result, err := d.read(b)
	if err != nil {
		return err
	}
	s.stats.BytesIn += uint64(n)
	if result != resultOK {
		t.result(result, 0)
		return nil
	}
	t.finish(n)
	return nil
}

// read reads once and returns the result for the guest.
func (d *netDevice) read(b []byte) (n int, result uint32, err error) {
	n, errno := d.port.Read(b)
	switch {
	case errno == unix.EAGAIN || errno == unix.ECONNREFUSED: // what a datagram sent before met
		return 0, resultAgain, nil
	case errno == unix.EINVAL || errno == unix.EFAULT:
		return 0, resultEINVAL, nil
	case errno == unix.ECONNRESET || errno == unix.EIO && d.terminal:
		// A peer that is gone: an end like any other. From a disk, EIO is a defect
		// that must not look like one.
		n = 0
	case errno != 0:
		return 0, 0, because("Fatal error when reading from network device '").text(d.name).text("': ").why(errno).err()
	}
	if n == 0 && !d.endsStream {
		return 0, resultAgain, nil
	}
	return n, resultOK, nil
}

func (s *services) netWrite(addr uint64) error {
	t, err := s.netTransfer("net write", addr)
	if err != nil {
		return err
	}
	d := byHandle(&s.nets, t.handle)
	if d == nil {
		t.result(resultEINVAL, 0)
		return nil
	}
	b, err := s.mem.readable("net write", t.data, t.length)
	if err != nil {
		return err
	}
	n, result, err := d.send(&s.waits, b)
	s.stats.BytesOut += uint64(n)
	if err != nil {
		return err
	}
	t.result(result, n)
	return nil
}

// send writes all of b, waiting while the other side takes nothing, and returns
// how much was written and the result for the guest.
func (d *netDevice) send(w *waitSet, b []byte) (sent int, result uint32, err error) {
	for {
		n, errno := d.port.Write(b[sent:])
		switch errno {
		case 0:
		case unix.EAGAIN:
			if d.other {
				return sent, resultEUnspc, nil
			}
			if err := w.writable(d.port.FD); err != nil {
				return sent, 0, err
			}
			continue
		case unix.EPIPE, unix.ECONNRESET:
			return sent, 0, brokenPipe("network device '", d.name, "'")
		case unix.EINVAL, unix.EMSGSIZE, unix.EBADF, unix.ENOTCONN, unix.EDESTADDRREQ, unix.ENXIO:
			return sent, resultEINVAL, nil // not a frame, or a device that is only read
		case unix.EIO, unix.EPERM, unix.ENETDOWN, unix.ENOBUFS, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH:
			return sent, resultEUnspc, nil // the packet is lost; EPERM is a packet filter's
		default:
			return sent, 0, because("Fatal error when writing to network device '").text(d.name).text("': ").why(errno).err()
		}
		if sent += n; sent >= len(b) {
			return sent, resultOK, nil
		}
	}
}

// brokenPipe ends the guest as SIGPIPE ends a process.
func brokenPipe(what ...string) error {
	l := because("")
	for _, s := range what {
		l.text(s)
	}
	l.text(": ").errno(unix.EPIPE).err()
	lastStop.status, lastStop.signal = 128+int(unix.SIGPIPE), int(unix.SIGPIPE)
	return &lastStop
}

// why appends what an error of a network device means.
func (l *line) why(e unix.Errno) *line {
	if e == unix.EBADFD {
		return l.text("its interface was deleted (").errno(e).text(")")
	}
	return l.errno(e)
}
