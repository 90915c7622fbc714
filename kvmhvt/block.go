package kvmhvt

import (
	"golang.org/x/sys/unix"
)

// blockDevice is a block device of the guest.
type blockDevice struct {
	name     string
	fd       int
	capacity uint64 // bytes
}

// contains says whether n bytes at offset are within the device.
func (d *blockDevice) contains(offset, n uint64) bool {
	return offset < d.capacity && n <= d.capacity-offset
}

func (s *services) blockRead(addr uint64) error {
	return s.blockCall("block read", addr, (*guestMemory).writable, unix.Pread, &s.stats.BytesIn)
}

func (s *services) blockWrite(addr uint64) error {
	return s.blockCall("block write", addr, (*guestMemory).readable, unix.Pwrite, &s.stats.BytesOut)
}

// blockCall transfers between a device and memory that the guest has the right
// kind of access to, and counts the bytes.
func (s *services) blockCall(what string, addr uint64, memory func(m *guestMemory, what string, addr, n uint64) ([]byte, error),
	call func(fd int, b []byte, offset int64) (int, error), count *uint64) error {
	t, err := s.blockTransfer(what, addr)
	if err != nil {
		return err
	}
	d := byHandle(&s.blocks, t.handle)
	if d == nil || !d.contains(t.offset, t.length) {
		t.result(resultEINVAL, 0)
		return nil
	}
	b, err := memory(&s.mem, what, t.data, t.length)
	if err != nil {
		return err
	}
	if !all(call, d.fd, b, t.offset) {
		t.result(resultEUnspc, 0)
		return nil
	}
	*count += t.length
	t.result(resultOK, len(b))
	return nil
}

// all calls pread or pwrite until all of b is transferred. It is false on an
// error, or when the file has become shorter.
func all(call func(fd int, b []byte, offset int64) (int, error), fd int, b []byte, offset uint64) bool {
	for len(b) > 0 {
		n, err := call(fd, b, int64(offset))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return false
		}
		b, offset = b[n:], offset+uint64(n)
	}
	return true
}
