package spt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// Config is what a guest is started with.
type Config struct {
	Image    *image.Image    // parsed from File; its target is image.SPT
	Manifest image.Manifest  // the image's, as attached: MACs, MTUs, capacities
	File     io.ReaderAt     // the image's contents, read once while sealing
	Memory   uint64          // guest memory in bytes, a multiple of the page size
	Devices  []device.Device // attached; Run uses their descriptors, Seal those that are inherited
	Args     string          // guest command line, at most MaxArgs bytes, without NUL
	Name     string          // process name; the kernel keeps 15 bytes

	Strict      bool // strict policy: see seccomp.SPT
	QuietFaults bool // no fault reporter: a fault or forbidden call kills without a word
	ExecHeap    bool // map the heap executable (Solo5's --x-exec-heap)

	Isolate isolate.Config // layers beside the policy
}

// Policy returns the system calls that the guest is left with. Descriptor
// numbers are those of the process that Run becomes.
func Policy(c *Config) (*seccomp.Policy, error) {
	s, err := newSealed(c)
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
	own := *c
	own.Devices = slices.Clone(c.Devices)
	for i := range own.Devices {
		if d := &own.Devices[i]; !d.Inherited {
			d.FD = -1
		}
	}
	s, err := newSealed(&own)
	if err != nil {
		return err
	}
	return s.write(func(pieces [][]byte) error {
		for _, b := range pieces {
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// sealed is a guest ready to be written as an executable.
type sealed struct {
	*Config
	parts  []part
	fds    *descriptors
	policy *seccomp.Policy
	entry  uint64
}

// part is a range of memory that the kernel maps from the executable.
type part struct {
	addr uint64 // page-aligned
	prot image.Prot
	data [][]byte       // its contents, or
	seg  *image.Segment // those of a guest segment
}

// pieces returns b as the contents of a part.
func pieces(b ...[]byte) [][]byte { return raw.Clone(b) }

// size is the part's length in memory and in the file, in whole pages.
func (p *part) size() uint64 {
	if p.seg != nil {
		return pages(p.seg.Vaddr+p.seg.Filesz) - p.addr
	}
	n := 0
	for _, b := range p.data {
		n += len(b)
	}
	return pages(uint64(n))
}

// newSealed lays out the guest and plans its start.
func newSealed(c *Config) (*sealed, error) {
	if err := c.Image.CheckMemory(c.Memory); err != nil {
		return nil, err
	}
	if len(c.Args) > MaxArgs {
		return nil, fmt.Errorf("the guest's command line is %d bytes long: at most %d are possible", len(c.Args), MaxArgs)
	}
	code, start, report := stubCode()
	s := raw.New[sealed]()
	s.Config, s.entry = c, stubBase+start
	s.parts = raw.Slice[part](0, 4+len(c.Image.Segments))
	d := raw.New[descriptors]()
	d.plan, d.devices = newPlan(), raw.Clone(c.Devices)
	s.fds = d
	d.inherit()
	d.attach()
	layers := newIsolation(s, d)
	layers.begin()

	grants := seccomp.SPTGrants{EpollFD: d.epoll, TimerFD: d.timer, Strict: c.Strict}
	manifest := raw.Clone(c.Manifest)
	for _, dev := range d.devices {
		manifest[dev.Handle].HostFD = int32(dev.FD)
		if dev.Type == image.Net {
			grants.Net = raw.Append(grants.Net, seccomp.NetGrant{Name: dev.Name, FD: dev.FD})
		} else {
			grants.Block = raw.Append(grants.Block, seccomp.BlockGrant{
				Name: dev.Name, FD: dev.FD, BlockSize: uint64(dev.BlockSize), Capacity: dev.Capacity})
		}
	}
	if !c.QuietFaults {
		// The stub's first instruction, two bytes long, is the call.
		grants.Reporter = raw.New[seccomp.Reporter]()
		*grants.Reporter = seccomp.Reporter{IP: stubBase + 2, Buf: lineBase, MaxLen: lineSize}
	}
	s.policy = seccomp.SPT(grants)
	filter, err := s.policy.Assemble()
	if err != nil {
		return nil, err
	}

	boot, cmdline := s.bootInfo(d, manifest)
	s.parts = append(s.parts,
		part{addr: stubBase, prot: image.R | image.X, data: pieces(code)},
		part{addr: bootBase, prot: image.R | image.W, data: boot})
	if !c.QuietFaults {
		s.parts = append(s.parts, part{addr: textsBase, prot: image.R, data: texts()})
	}
	for i := range c.Image.Segments {
		if seg := &c.Image.Segments[i]; seg.Filesz > 0 {
			s.parts = append(s.parts, part{addr: seg.Vaddr &^ (image.PageSize - 1), prot: seg.Prot, seg: seg})
		}
	}
	s.memory(d.plan)
	s.signals(d.plan, stubBase+report)
	s.confine(layers, filter)
	head, data := d.link(entry{c.Image.Entry, c.Memory - 8, bootBase}, cmdline, uint64(len(c.Args)))
	if n := len(head) + len(data); n > planRoom {
		return nil, fmt.Errorf("the guest's set-up takes %d bytes: at most %d are possible; attach fewer devices", n, planRoom)
	}
	s.parts = append(s.parts, part{addr: planBase, prot: image.R | image.W, data: pieces(head, data)})
	slices.SortFunc(s.parts, func(a, b part) int { return cmp.Compare(a.addr, b.addr) })
	return s, nil
}

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
	data = pieces(m.AppendTo(boot), readOnly(s.Args))
	for room := cmdlineSize - len(s.Args); room > 0; room -= len(zeroPage) {
		data = raw.Append(data, zeroPage[:min(room, len(zeroPage))])
	}
	return data, cmdline
}
