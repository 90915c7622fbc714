package spt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/plan"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// Config is what a guest is started with. Run uses the descriptors of all devices,
// Seal those that are inherited.
type Config struct {
	device.Guest
	Isolate     isolate.Config // layers beside the policy
	Name        string         // process name, up to a NUL; the kernel keeps 15 bytes
	Strict      bool           // strict policy: for guests without timers, clocks and thread-local storage
	QuietFaults bool           // no fault reporter: a fault or forbidden call kills without a word
	ExecHeap    bool           // map the heap executable (Solo5's --x-exec-heap)

	// Title is the command line that ps shows, of at most MaxTitle bytes, its words
	// apart by NULs; "" for none. The guest can read it.
	Title string

	Note []byte // of Seal: what the executable says of itself to those who read the file

	// Warm, unless nil, is what the guest was when it waited, and what it is started as:
	// nothing is read from File then.
	Warm *Warm

	// LessMemory says how the user gives the guest less memory, for the message when
	// there is not so much; it may be empty.
	LessMemory string

	// Unblock is a set of signals that come blocked, signal n as bit n-1, and that the
	// guest must not miss: process 1 loses those that it has no handler for. They are let
	// through when the handlers are there.
	Unblock uint64

	Failure uint8 // exit status if something fails before the guest runs; not 0
}

// MaxArgs is the length in bytes of the longest guest command line.
const MaxArgs = device.MaxArgs

// Policy returns the system calls that the guest is left with. Descriptor
// numbers are those of the process that Run becomes.
func Policy(c *Config) (*seccomp.Policy, error) {
	s, err := newSealed(c, noFile)
	if err != nil {
		return nil, err
	}
	return s.policy, nil
}

// Seal writes the guest as an executable that attaches the devices, confines
// itself and runs it, with its arguments appended to the command line. Devices
// with a path are opened when it starts; those that are inherited must be open
// then, with the same numbers.
func Seal(c *Config, w io.Writer) error {
	s, err := newSealed(c.unopened(), noFile)
	if err != nil {
		return err
	}
	return s.executable.Write(func(pieces [][]byte) error {
		for _, b := range pieces {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// unopened is the guest with the devices that its executable opens not open.
func (c *Config) unopened() *Config {
	own := *c
	own.Devices = slices.Clone(c.Devices)
	for i := range own.Devices {
		if d := &own.Devices[i]; !d.Inherited {
			d.FD = -1
		}
	}
	return &own
}

// sealed is a guest ready to be written as an executable.
type sealed struct {
	*Config
	executable plan.Executable
	fds        *descriptors
	policy     *seccomp.Policy
	symbols    symbols
	file       int // the image's descriptor, from which the plan reads segments, or noFile
}

// errFailure: nobody could tell a guest that failed to start from one that is well.
var errFailure = errors.New("no exit status is given for a guest that cannot be started")

// newSealed lays out the guest and plans its start. Its segments are a part of the
// executable, or file is a descriptor that the plan reads them from.
func newSealed(c *Config, file int) (*sealed, error) {
	if err := c.Check(image.SPT); err != nil {
		return nil, err
	}
	if len(c.Title) > MaxTitle {
		return nil, fmt.Errorf("the guest's title is %d bytes long: at most %d are possible", len(c.Title), MaxTitle)
	}
	if c.Failure == 0 {
		return nil, errFailure
	}
	if c.Warm != nil {
		if err := c.Warm.Check(c); err != nil {
			return nil, err
		}
	}
	code, at := stubCode()
	s := raw.New[sealed]()
	s.Config, s.file, s.executable.Entry = c, file, stubBase+uint64(len(code))
	d := raw.New[descriptors]()
	d.Plan, d.devices = plan.New(), raw.Clone(c.Devices)
	d.Status, d.unread = c.Failure, c.Unread()
	s.fds = d
	s.refusals(d.Plan, at)
	s.load(d.Plan)
	d.inherit()
	size := 0
	if c.Warm != nil {
		c.Warm.checkHost(d, c.Image.Generation != 0)
		size = d.whole()
	}
	if err := d.attach(); err != nil {
		return nil, err
	}
	if c.Warm != nil {
		c.Warm.once(d.Plan)
	}
	layers := s.isolation(d)
	layers.Begin()

	manifest := raw.Clone(c.Image.Manifest)
	for _, dev := range d.devices {
		manifest[dev.Handle].HostFD = int32(dev.FD)
	}
	held := grants{epoll: d.epoll, timer: d.timer, devices: d.devices, strict: c.Strict}
	if !c.QuietFaults {
		held.gate = s.gate(at)
	}
	s.policy = held.policy()
	filter, err := s.policy.Assemble()
	if err != nil {
		return nil, err
	}

	if !c.QuietFaults {
		s.findSymbols()
	}
	parts, entry, cmdline := s.contents(d, manifest, code, at)
	s.memory(d.Plan, parts)
	parts = raw.Append(parts, s.symbols.parts...)
	s.title(d.Plan)
	s.confine(layers, at, filter)
	steps, err := d.Part(entry, cmdline)
	if err != nil {
		return nil, fmt.Errorf("%w; attach fewer devices", err)
	}
	parts = append(parts, steps)
	slices.SortFunc(parts, func(a, b plan.Part) int { return cmp.Compare(a.Addr, b.Addr) })
	s.executable.Parts, s.executable.Note = parts, c.Note
	if c.Warm != nil {
		plan.SetWant(steps, size, s.executable.Size())
	}
	return s, nil
}

// contents returns what of the guest comes from the executable, except the plan, the
// stub's targets, and what it appends arguments to.
func (s *sealed) contents(d *descriptors, manifest image.Manifest, code []byte, at stubEntries) ([]plan.Part, plan.Entry, plan.Cmdline) {
	c := s.Config
	parts := raw.Slice[plan.Part](0, 7+len(c.Image.Segments))
	parts = append(parts, plan.Part{Addr: stubBase, Prot: plan.Read | plan.Exec, Data: s.stub(code, at)})
	if !c.QuietFaults {
		parts = append(parts, plan.Part{Addr: textsBase, Prot: plan.Read, Data: texts()})
	}
	if c.Warm != nil {
		entry := plan.Entry{IP: stubBase + s.restoreAt(code), SP: stateBase, DI: bootBase}
		return append(parts, s.warmParts()...), entry, plan.Cmdline{Addr: bootBase, Refuse: device.TakesNoArgs}
	}
	boot, cmdline := s.bootInfo(d, manifest)
	parts = append(parts, plan.Part{Addr: bootBase, Prot: plan.Read | plan.Write, Data: boot})
	for i := range c.Image.Segments {
		if seg := &c.Image.Segments[i]; seg.Filesz > 0 && s.file == noFile {
			parts = append(parts, s.segment(seg))
		}
	}
	return parts, plan.Entry{IP: c.Image.Entry, SP: c.Memory - 8, DI: bootBase},
		plan.Cmdline{Addr: cmdline, Len: uint64(len(c.Args)), MaxLen: MaxArgs}
}

// segment is a segment of the image, copied from its file.
func (s *sealed) segment(seg *image.Segment) plan.Part {
	c := raw.New[plan.Contents]()
	*c = plan.Contents{File: s.File, Offset: seg.Offset, Size: seg.Filesz, Addr: seg.Vaddr, Number: seg.Index}
	return plan.Part{Addr: seg.Vaddr &^ (image.PageSize - 1), Prot: uint32(seg.Prot), Copy: c}
}

// gate returns the address of the reporter's write.
func (s *sealed) gate(at stubEntries) uint64 {
	if s.Image.Fault != 0 {
		return stubBase + at.owned
	}
	return stubBase
}

// stub returns the page of the fault reporter and the plan's stub, with the words
// at its end.
func (s *sealed) stub(code []byte, at stubEntries) [][]byte {
	carrier, last := plan.Stub(), []byte(nil)
	if s.Warm != nil {
		last = restoreCode()
	}
	used := len(code) + len(carrier) + len(last)
	w := &s.symbols.words
	return plan.Pieces(code, carrier, last, plan.Zeros(symbolsAt-stubBase-used),
		plan.Words(w[0], w[1], w[2], w[3], w[4], w[5], s.gate(at), s.Image.Fault))
}

// restoreAt is the offset in that page of the code that enters a guest that has run
// before.
func (s *sealed) restoreAt(code []byte) uint64 { return uint64(len(code) + len(plan.Stub())) }

// bootInfo returns boot info, manifest and command line as they lie at bootBase,
// with all the room that the stub may add arguments in, and the guest address of
// the command line.
func (s *sealed) bootInfo(d *descriptors, m image.Manifest) (data [][]byte, cmdline uint64) {
	boot := raw.Slice[byte](0, bootInfoSize+m.Size())
	const mft = bootBase + bootInfoSize
	cmdline = mft + uint64(m.Size())
	for _, word := range []uint64{s.Memory, s.Image.End, cmdline, mft} {
		boot = binary.LittleEndian.AppendUint64(boot, word)
	}
	boot = binary.LittleEndian.AppendUint32(boot, uint32(d.epoll))
	boot = binary.LittleEndian.AppendUint32(boot, uint32(d.timer))
	data = plan.Pieces(m.AppendTo(boot), raw.Bytes(s.Args))
	for room := cmdlineSize - len(s.Args); room > 0; room -= plan.PageSize {
		data = raw.Append(data, plan.Zeros(room))
	}
	return data, cmdline
}
