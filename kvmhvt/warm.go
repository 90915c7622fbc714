package kvmhvt

import (
	"errors"
	"fmt"

	"gocat/internal/image"
	"gocat/internal/x86"
)

// Warm is a guest that has run before, as it was when it waited: a guest is started
// as that, and nothing is read from its image's segments. It comes from a file, so
// every number in it may be anything; check says what no guest could have come to.
type Warm struct {
	State  *State
	Memory []Range // what of guest memory is not zero, in order of address
	// Contents are the pages of Memory, one after the other. A guest that is started
	// from them gets the pages themselves.
	Contents []byte
}

// Range is a piece of guest memory: an address and a size in bytes, in whole pages.
type Range struct{ Addr, Size uint64 }

// State is what a guest was, besides its memory. It is written to files as it lies in
// memory, and has no room for what only the tender sets: control registers, tables and
// segments are those of every guest.
type State struct {
	Format uint64 // stateFormat
	Ranges uint64 // how many follow in the file
	Once   uint64 // not 0 if the file starts a single time

	// Features are those of Processor, and Offered those of them that KVM has told of.
	Features, Offered [len(x86.Groups)]uint64
	States, Last      uint64    // as in x86.Processor
	Boot              [2]uint64 // the first 16 bytes of the host's boot ID; 0 if not known

	Wall    uint64 // when it was stopped: ns since 1970
	Counter uint64 // its time stamp counter then
	Hz      uint64 // frequency of that
	Poll    uint64 // address of the arguments of the poll in which it waits
	Timeout uint64 // of that: ns

	General                            [18]uint64 // struct kvm_regs, after the OUT of the poll
	FSBase, GSBase, KernelGSBase, CR2  uint64
	GDTBase, GDTLimit, IDTBase, IDTEnd uint64 // what it has loaded; the processor has others
	TR                                 uint64
	RingHead, RingTail                 uint64 // the tender's indices in the network ring

	Devices  [image.MaxEntries][2]uint64 // by handle: what it has read of them
	Modified [image.MaxEntries][2]uint64 // by handle: device.Device.Modified
	Extended [xsaveSize]byte             // struct kvm_xsave
}

// stateFormat is "WARMHVT2", and changes with the layout of State.
const stateFormat = 0x325456484d524157

// Processor returns the processor that the guest has run on.
func (s *State) Processor() x86.Processor {
	return x86.Processor{Features: s.Features, States: s.States, Last: uint32(s.Last)}
}

var (
	errWarmFormat = errors.New("snapshot: it is damaged, or made by another version of gocat")
	// ErrWarmLevel is the error for privilege level 0.
	ErrWarmLevel = errors.New("snapshot: a guest at privilege level 0 has set up its processor itself: only guests at level 3 can be warm")
)

// EncodeWarm returns what is in a file before Contents: State and Memory, in whole pages.
func EncodeWarm(w *Warm) []byte {
	s := *w.State
	s.Format, s.Ranges = stateFormat, uint64(len(w.Memory))
	b := append(append([]byte{}, stateBytes(&s)...), rangesBytes(w.Memory)...)
	return append(b, make([]byte, -len(b)&(image.PageSize-1))...)
}

// DecodeWarm reads what EncodeWarm and Contents have become. The contents stay in b;
// everything else is copied.
func DecodeWarm(b []byte) (*Warm, error) {
	w, size := newWarm(b), 0
	if w != nil {
		size = stateSize + len(w.Memory)*rangeSize
		size += -size & (image.PageSize - 1)
	}
	if w == nil || size > len(b) {
		return nil, errWarmFormat
	}
	w.Contents = b[size:]
	return w, nil
}

// check says what of w no guest of the configuration could have come to.
func (w *Warm) check(c *Config, l *layout) error {
	if c.CPL != 3 {
		return ErrWarmLevel
	}
	if err := w.checkMemory(l); err != nil {
		return err
	}
	s := w.State
	r := generalOf(s)
	switch {
	case !canonical(r.rip):
		return fmt.Errorf("snapshot: the guest is at %#x, which is no address", r.rip)
	case r.rflags != userFlags(r.rflags):
		return fmt.Errorf("snapshot: flags %#x, which no guest has", r.rflags)
	case !canonical(s.FSBase) || !canonical(s.GSBase) || !canonical(s.KernelGSBase):
		return errors.New("snapshot: a segment's base is no address")
	case s.GDTLimit|s.IDTEnd|s.TR > 0xffff:
		return errors.New("snapshot: a table's limit or a selector is too large")
	case !l.allows(s.Poll, pollSize, image.W):
		return fmt.Errorf("snapshot: the guest waits with arguments at %#x, which it cannot write", s.Poll)
	case s.Hz == 0 || s.Hz > maxHz || s.Wall > maxWall:
		return errors.New("snapshot: a time that is none")
	}
	return w.checkExtended()
}

// Bounds on numbers that are computed with: a counter of 1 THz, and a wall clock of a
// few centuries, in ns.
const (
	maxHz   = 1e12
	maxWall = 1 << 63
)

// checkMemory looks at the ranges: pages of the guest's own, in order, each with
// contents.
func (w *Warm) checkMemory(l *layout) error {
	end, left := uint64(minBase), uint64(len(w.Contents))
	for i := range w.Memory {
		r := &w.Memory[i]
		if r.Addr%image.PageSize != 0 || r.Size%image.PageSize != 0 || r.Size == 0 || r.Addr < end {
			return fmt.Errorf("snapshot: memory at %#x, %#x bytes: not pages in order", r.Addr, r.Size)
		}
		if r.Addr > l.total || r.Size > l.total-r.Addr {
			return fmt.Errorf("snapshot: memory at %#x, %#x bytes: none of the guest's", r.Addr, r.Size)
		}
		if r.Size > left {
			return fmt.Errorf("snapshot: memory at %#x, %#x bytes: only %#x are there", r.Addr, r.Size, left)
		}
		end, left = r.Addr+r.Size, left-r.Size
	}
	return nil
}

// checkExtended looks at the XSAVE area, which goes to KVM whole.
func (w *Warm) checkExtended() error {
	s := w.State
	mask, ok := x86.CheckArea(s.Extended[:x86.AreaSize])
	for _, b := range s.Extended[x86.AreaSize:] {
		ok = ok && b == 0
	}
	if !ok {
		return errors.New("snapshot: its state of the floating point registers is damaged")
	}
	if missing := mask &^ (s.States | x86.StateFPU | x86.StateSSE); missing != 0 {
		return fmt.Errorf("snapshot: registers (states %#x) that its processor did not have", missing)
	}
	return nil
}

// checkDevices compares what the guest has read of its devices with those attached.
func (w *Warm) checkDevices(m image.Manifest) error {
	for i := range m {
		e, now, was := &m[i], described(&m[i]), w.State.Devices[i]
		if now == was {
			continue
		}
		switch {
		case e.Type == image.Block && now[1] != was[1]:
			return fmt.Errorf("block device '%s' has blocks of %d bytes, and the guest has found %d: it has started already", e.Name, now[1], was[1])
		case e.Type == image.Block:
			return fmt.Errorf("block device '%s' holds %d bytes, and the guest has found %d: it has started already", e.Name, now[0], was[0])
		case now[1] != was[1]:
			return fmt.Errorf("network device '%s' has an MTU of %d, and the guest has found %d: it has started already", e.Name, now[1], was[1])
		}
		return fmt.Errorf("network device '%s' has MAC address %012x, and the guest has found %012x: it has started already", e.Name, now[0], was[0])
	}
	return nil
}

// described is what a guest reads of a device that the manifest's image does not say.
func described(e *image.Entry) (d [2]uint64) {
	switch e.Type {
	case image.Block:
		return [2]uint64{e.Capacity, uint64(e.BlockSize)}
	case image.Net:
		for _, b := range e.MAC {
			d[0] = d[0]<<8 | uint64(b)
		}
		d[1] = uint64(e.MTU)
	}
	return d
}
