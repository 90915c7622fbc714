package kvmhvt

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// model states the hypercalls of Solo5's hvt_abi.h and hvt_ring.h once more,
// apart from the tender's code: on a copy of guest memory, in addresses of the
// one layout that the fuzzers use, with devices that are arrays.
type model struct {
	mem      []byte   // guest memory as it must be
	ring     []byte   // the network ring, which is not in mem
	lo, hi   uint64   // all of mem that was changed is in between
	nets     []uint64 // handles of the network devices there are, all always ready
	input    []byte   // what device 1, which can only be read, still gives; then it ends
	sent     []byte   // what was written to device 5
	disk     []byte   // block device 3
	short    []byte   // block device 6, of the same capacity, whose file has become shorter
	console  []byte   // what was printed
	walltime uint64   // what the host says the time is
	status   int
}

// Memory of the model's guest: nothing, then low memory, text and constants that
// it can only read, then data, heap and stack.
const (
	modelLow  = 0x10000
	modelData = 0x102000
	modelEnd  = 0x200000
	modelDisk = 8192
)

// verdict is how a hypercall ended.
type verdict struct{ isStopped, halted bool }

var isStopped = verdict{isStopped: true}

// can says whether the guest can read, or write, n bytes at addr itself.
func (m *model) can(write bool, addr, n uint64) bool {
	first := uint64(modelLow)
	if write {
		first = modelData
	}
	if n == 0 {
		return addr <= modelEnd
	}
	return addr >= first && addr < modelEnd && n <= modelEnd-addr
}

func (m *model) word(addr uint64) uint64 { return binary.LittleEndian.Uint64(m.mem[addr:]) }

// put changes guest memory.
func (m *model) put(addr uint64, b []byte) {
	if n := uint64(copy(m.mem[addr:], b)); n > 0 {
		m.lo, m.hi = min(m.lo, addr), max(m.hi, addr+n)
	}
}

func (m *model) put32(addr uint64, v uint32) {
	m.put(addr, binary.LittleEndian.AppendUint32(nil, v))
}

func (m *model) put64(addr, v uint64) {
	m.put(addr, binary.LittleEndian.AppendUint64(nil, v))
}

// Results: SOLO5_R_OK and the like.
const (
	modelOK = iota
	modelAgain
	modelInvalid
	modelUnspecified
)

// hypercall makes call number nr with the structure at addr.
func (m *model) hypercall(nr int, addr uint64) verdict {
	sizes := []struct {
		size  uint64
		write bool
	}{1: {8, true}, 2: {16, false}, 3: {24, true}, 4: {40, true}, 5: {40, true}, 6: {32, true}, 7: {32, true}, 8: {16, false}}
	if nr < 1 || nr > 8 || !m.can(sizes[nr].write, addr, sizes[nr].size) {
		return isStopped
	}
	switch nr {
	case 1:
		m.put64(addr, m.walltime)
	case 2:
		data, n := m.word(addr), m.word(addr+8)
		if !m.can(false, data, n) {
			return isStopped
		}
		m.console = bytes.Clone(m.mem[data:][:n])
	case 3:
		ready := uint64(0)
		for _, handle := range m.nets {
			ready |= 1 << handle
		}
		m.put64(addr+8, ready)
		m.put32(addr+16, uint32(len(m.nets)))
	case 4, 5:
		return m.block(nr == 4, addr)
	case 6:
		result, ok := m.netWrite(m.word(addr), m.word(addr+8), m.word(addr+16))
		if !ok {
			return isStopped
		}
		m.put32(addr+24, result)
	case 7:
		n, result, ok := m.netRead(m.word(addr), m.word(addr+8), m.word(addr+16))
		if !ok {
			return isStopped
		}
		if result == modelOK {
			m.put64(addr+16, n)
		}
		m.put32(addr+24, result)
	case 8:
		if cookie := m.word(addr); cookie != 0 && !m.can(false, cookie, 512) {
			return isStopped
		}
		m.status = int(int32(m.word(addr + 8)))
		return verdict{halted: true}
	}
	return verdict{}
}

// block is a read or write of a block device.
func (m *model) block(write bool, addr uint64) verdict {
	handle, offset, data, n := m.word(addr), m.word(addr+8), m.word(addr+16), m.word(addr+24)
	file := map[uint64]*[]byte{3: &m.disk, 6: &m.short}[handle]
	if file == nil || offset >= modelDisk || n > modelDisk-offset {
		m.put32(addr+32, modelInvalid)
		return verdict{}
	}
	if !m.can(!write, data, n) {
		return isStopped
	}
	result := uint32(modelOK)
	if write {
		if missing := int(offset+n) - len(*file); missing > 0 && n > 0 {
			*file = append(*file, make([]byte, missing)...)
		}
		copy((*file)[min(int(offset), len(*file)):], m.mem[data:][:n])
	} else {
		there := (*file)[min(int(offset), len(*file)):]
		there = there[:min(int(n), len(there))]
		m.put(data, there)
		if len(there) < int(n) {
			result = modelUnspecified
		}
	}
	m.put32(addr+32, result)
	return verdict{}
}

// netWrite is false when the guest ends.
func (m *model) netWrite(handle, data, n uint64) (result uint32, ok bool) {
	if !slices.Contains(m.nets, handle) {
		return modelInvalid, true
	}
	if !m.can(false, data, n) {
		return 0, false
	}
	switch handle {
	case 1: // only to be read
		return modelInvalid, true
	case 5:
		m.sent = append(m.sent, m.mem[data:][:n]...)
	}
	return modelOK, true
}

// netRead is false when the guest ends.
func (m *model) netRead(handle, data, n uint64) (got uint64, result uint32, ok bool) {
	if !slices.Contains(m.nets, handle) {
		return 0, modelInvalid, true
	}
	if !m.can(true, data, n) {
		return 0, 0, false
	}
	switch handle {
	case 1:
		got = min(n, uint64(len(m.input)))
		m.put(data, m.input[:got])
		m.input = m.input[got:]
	case 4: // at its end, which is hidden
		return 0, modelAgain, true
	}
	return got, modelOK, true
}

// drain serves a ring whose tender has served head requests and given comTail
// results, and returns the two numbers afterwards.
func (m *model) drain(head, comTail uint32) (uint32, uint32, verdict) {
	le := binary.LittleEndian
	waiting := le.Uint32(m.ring) - head
	for range min(waiting, 1024) {
		e := m.ring[128+head%1024*32:]
		handle, data, n, id := uint64(le.Uint32(e[4:])), le.Uint64(e[8:]), uint64(le.Uint32(e[16:])), le.Uint32(e[20:])
		switch le.Uint32(e) {
		case 1:
			if _, ok := m.netWrite(handle, data, n); !ok {
				return head, comTail, isStopped
			}
		case 2:
			got, result, ok := m.netRead(handle, data, n)
			if !ok {
				return head, comTail, isStopped
			}
			r := m.ring[128+1024*32+comTail%1024*16:]
			le.PutUint32(r, id)
			le.PutUint32(r[4:], result)
			le.PutUint32(r[8:], uint32(got))
			comTail++
			le.PutUint32(m.ring[68:], comTail)
		}
		head++
		le.PutUint32(m.ring[64:], head)
	}
	return head, comTail, verdict{}
}
