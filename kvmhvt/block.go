package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/image"
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
	return s.blockCall("block read", addr, unix.SYS_PREAD64, image.W, &s.stats.BytesIn)
}

func (s *services) blockWrite(addr uint64) error {
	return s.blockCall("block write", addr, unix.SYS_PWRITE64, image.R, &s.stats.BytesOut)
}

// blockCall transfers between a device and memory that the guest has the right
// kind of access to, and counts the bytes.
func (s *services) blockCall(what string, addr uint64, nr uintptr, access image.Prot, count *uint64) error {
	t, err := s.blockTransfer(what, addr)
	if err != nil {
		return err
	}
	d := byHandle(&s.blocks, t.handle)
	if d == nil || !d.contains(t.offset, t.length) {
		t.result(resultEINVAL, 0)
		return nil
	}
	b, err := s.mem.slice(what, t.data, t.length, access)
	if err != nil {
		return err
	}
	if !transferAll(nr, d.fd, b, t.offset) {
		t.result(resultEUnspc, 0)
		return nil
	}
	*count += t.length
	t.result(resultOK, len(b))
	return nil
}

// transferAll calls pread64 or pwrite64 until all of b is transferred. It is
// false on an error, or when the file has become shorter.
func transferAll(nr uintptr, fd int, b []byte, offset uint64) bool {
	for len(b) > 0 {
		n, errno := transferAt(nr, fd, b, offset)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n <= 0 || n > len(b) {
			return false
		}
		b, offset = b[n:], offset+uint64(n)
	}
	return true
}
