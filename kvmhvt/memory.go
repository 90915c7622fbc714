package kvmhvt

import (
	"encoding/binary"

	"gocat/internal/image"
)

// guestMemory is the tender's access to guest memory. The guest may change it
// at any time while a ring is in use, so every number is copied once, and
// checked as copied.
type guestMemory struct {
	b      []byte // from guest address 0
	layout *layout
}

// readable returns n bytes at addr that the guest can read itself. The error
// ends the guest: upstream's tender does so, and an address that is wrong here
// is wrong in the guest too.
func (m *guestMemory) readable(what string, addr, n uint64) ([]byte, error) {
	return m.slice(what, addr, n, image.R)
}

// writable returns n bytes at addr that the guest can write itself, so that no
// hypercall changes what the guest could not.
func (m *guestMemory) writable(what string, addr, n uint64) ([]byte, error) {
	return m.slice(what, addr, n, image.W)
}

func (m *guestMemory) slice(what string, addr, n uint64, prot image.Prot) ([]byte, error) {
	if !m.layout.allows(addr, n, prot) {
		access := "readable"
		if prot == image.W {
			access = "writable"
		}
		return nil, because("Invalid guest access: gpa=").hex(addr).text(", sz=").decimal(n).text(": ").text(what).
			text(": not all of it is ").text(access).text(" guest memory").err()
	}
	return m.b[addr:][:n:n], nil
}

func load64(b []byte, offset int) uint64     { return binary.LittleEndian.Uint64(b[offset:]) }
func load32(b []byte, offset int) uint32     { return binary.LittleEndian.Uint32(b[offset:]) }
func store64(b []byte, offset int, v uint64) { binary.LittleEndian.PutUint64(b[offset:], v) }
func store32(b []byte, offset int, v uint32) { binary.LittleEndian.PutUint32(b[offset:], v) }
