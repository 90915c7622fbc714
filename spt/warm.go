package spt

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/internal/raw"
	"gocat/internal/x86"
)

// Warm is a guest that has run before, as it was in a system call by which it
// waited: a guest started from it makes that call. Check says what it may hold.
type Warm struct {
	// Memory is what is not zero, in order of address: of the image's segments, of the
	// heap, and of what lies below them, except gocat's own.
	Memory    []Range
	Registers x86.Registers // RIP is that of the SYSCALL instruction
	State     []byte        // XSAVE area in its standard form, as far as it is used
	Alarm     [4]uint64     // what the guest's timer is set to: struct itimerspec, absolute
	Clock     [2]uint64     // the latest monotonic time that the guest has seen: struct timespec
	Processor x86.Processor // that it ran on
	// Boot is the first 16 bytes of BootID of the host that it ran on; 0 if not known.
	Boot [2]uint64
	Once bool // its executable removes itself, so that it starts a single time
}

// Range is a piece of memory whose contents are in a file.
type Range struct {
	Addr, Size uint64 // bytes, in whole pages
	File       io.ReaderAt
	Offset     uint64 // in File
}

// Regions returns the parts of guest memory that a Warm may have contents of, each
// with the protection that the guest has there.
func Regions(m *image.Image, memory uint64, execHeap bool) []Region {
	heap := image.R | image.W
	if execHeap {
		heap |= image.X
	}
	all := []Region{{bootBase, textsBase, heap, false}}
	at := uint64(image.MinAddr)
	for _, seg := range m.Segments {
		if at < seg.Start {
			all = append(all, Region{at, seg.Start, heap, true})
		}
		all = append(all, Region{seg.Start, seg.End, seg.Prot, false})
		at = seg.End
	}
	if at < memory {
		all = append(all, Region{at, memory, heap, true})
	}
	return all
}

// Region is a range of guest memory of one protection.
type Region struct {
	Start, End uint64
	Prot       image.Prot
	Heap       bool // nothing of it comes from the image
}

// Unused lists the parts of guest memory, from one address to another, that a guest
// must have left alone: gocat's own is there when it starts.
func Unused() [][2]uint64 { return [][2]uint64{{textsEnd, titleBase}, {planBase, image.MinAddr}} }

// Flags that a guest can have (Intel SDM volume 1, 3.4.3): those of results, the
// direction, and those that have no meaning to it. A trap flag would end it, and the
// others are the kernel's.
const (
	flagsFixed   = 0x202                                                                      // always 1, and IF
	flagsAllowed = flagsFixed | 1 | 1<<2 | 1<<4 | 1<<6 | 1<<7 | 1<<10 | 1<<11 | 1<<18 | 1<<21 // CF PF AF ZF SF DF OF AC ID
)

// Segments of a 64-bit process (asm/segment.h).
const (
	userCS = 0x33
	userSS = 0x2b
)

// Check says what of w no guest of c could have come to.
func (w *Warm) Check(c *Config) error {
	regions := Regions(c.Image, c.Memory, c.ExecHeap)
	end := uint64(0)
	for i := range w.Memory {
		r := &w.Memory[i]
		last := r.Addr + r.Size
		if r.Addr%image.PageSize != 0 || r.Size%image.PageSize != 0 || r.Size == 0 || last < r.Addr || r.Addr < end {
			return fmt.Errorf("snapshot: memory at %#x, %#x bytes: not pages in order", r.Addr, r.Size)
		}
		end = last
		if in := find(regions, r.Addr); in == nil || last > in.End {
			return fmt.Errorf("snapshot: memory at %#x, %#x bytes: none of the guest's", r.Addr, r.Size)
		}
	}
	r := &w.Registers
	const canonical = plan.TaskEnd
	in := find(regions, r.RIP)
	switch {
	case in == nil || in.Prot&image.X == 0:
		return fmt.Errorf("snapshot: the guest is at %#x, where it has no code", r.RIP)
	case r.Flags&flagsFixed != flagsFixed || r.Flags&^flagsAllowed != 0:
		return fmt.Errorf("snapshot: flags %#x, which no guest has", r.Flags)
	case r.CS != userCS || r.SS != userSS || r.DS|r.ES|r.FS|r.GS != 0:
		return errors.New("snapshot: segment registers that no guest has")
	case r.FSBase >= canonical || r.GSBase >= canonical:
		return errors.New("snapshot: a segment's base is no address of a process")
	case w.Alarm[1] >= 1e9 || w.Alarm[3] >= 1e9 || w.Alarm[0]|w.Alarm[2] >= 1<<62 || w.Clock[1] >= 1e9 || w.Clock[0] >= 1<<62:
		return errors.New("snapshot: a time that is none")
	}
	return w.checkState()
}

// checkState looks at the XSAVE area: what XRSTOR refuses would be a fault.
func (w *Warm) checkState() error {
	mask, ok := x86.CheckArea(w.State)
	if !ok {
		return errors.New("snapshot: its state of the floating point registers is damaged")
	}
	if missing := mask &^ w.Processor.States; missing != 0 {
		return fmt.Errorf("snapshot: registers (states %#x) that its processor did not have", missing)
	}
	return nil
}

// find returns the region that addr lies in.
func find(regions []Region, addr uint64) *Region {
	for i := range regions {
		if r := &regions[i]; r.Start <= addr && addr < r.End {
			return r
		}
	}
	return nil
}

// warmParts are the parts of a guest that has run before.
func (s *sealed) warmParts() []plan.Part {
	regions := Regions(s.Image, s.Memory, s.ExecHeap)
	parts := []plan.Part{{Addr: stateBase, Prot: plan.Read, Data: plan.Pieces(s.Warm.state())}}
	for i := range s.Warm.Memory {
		r := &s.Warm.Memory[i]
		parts = append(parts, plan.Part{Addr: r.Addr, Prot: uint32(find(regions, r.Addr).Prot),
			Copy: &plan.Contents{File: r.File, Offset: r.Offset, Size: r.Size, Addr: r.Addr, Number: i}})
	}
	return parts
}

// state is the page that restore reads, and what follows it.
func (w *Warm) state() []byte {
	r, g := &w.Registers, &w.Registers.General
	b := plan.Words(g[x86.RBP], r.RIP, userCS, r.Flags, g[x86.RSP], userSS,
		g[x86.RAX], g[x86.RBX], g[x86.RCX], g[x86.RDX], g[x86.RSI], g[x86.RDI],
		g[x86.R8], g[x86.R9], g[x86.R10], g[x86.R11], g[x86.R12], g[x86.R13], g[x86.R14], g[x86.R15],
		w.Processor.States)
	b = append(b, make([]byte, stateArea-len(b))...)
	return append(b, w.State...)
}

// rest appends the regions of seg that no part covers: they are zero.
func rest(all []region, seg *image.Segment, parts []plan.Part) []region {
	at := seg.Start
	for i := range parts {
		if p := &parts[i]; p.Addr >= at && p.Addr < seg.End {
			if at < p.Addr {
				all = append(all, region{at, p.Addr, seg.Prot, true})
			}
			at = p.Addr + p.Size()
		}
	}
	if at < seg.End {
		all = append(all, region{at, seg.End, seg.Prot, true})
	}
	return all
}

// checkHost plans that the guest is started by a processor that has what its own had,
// and where time has not gone back since. A guest that knows of its clones looks at
// the clock itself.
//
// CPUID takes microseconds in a virtual machine, so it is skipped on a host that has
// not been rebooted since: its processor is the same.
func (w *Warm) checkHost(d *descriptors, knows bool) {
	p := d.Plan
	if w.Boot == [2]uint64{} {
		w.checkProcessor(p)
	} else {
		w.checkBoot(d)
	}
	if w.Clock != [2]uint64{} && !knows {
		now := p.Store(make([]byte, 16))
		p.Must("could not read the clock", 0, unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, now)
		p.Must("this host's monotonic clock is behind that which the guest has seen, and would go back for it: the host was started anew, or is another one", 0,
			plan.Earlier, now, plan.Words(w.Clock[0], w.Clock[1]))
	}
}

// checkBoot is checkProcessor, unless the host has the same boot ID.
func (w *Warm) checkBoot(d *descriptors) {
	p, fd := d.Plan, d.take()
	var same int
	p.When(plan.Exact, uint64(fd), func() {
		id := p.Store(make([]byte, 40))
		p.Try(unix.SYS_READ, fd, id, 36)
		p.Try(unix.SYS_CLOSE, fd)
		p.When(plan.Exact, 0, func() {
			p.When(plan.Exact, 0, func() { same = p.Jump() }, plan.Differ, id+8, plan.Words(w.Boot[1]), plan.Exact)
		}, plan.Differ, id, plan.Words(w.Boot[0]), plan.Exact)
	}, unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString(raw.BootID), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	d.free(fd)
	w.checkProcessor(p)
	p.Land(same, p.Here())
}

// checkProcessor plans that the processor has what the guest can have found.
func (w *Warm) checkProcessor(p *plan.Plan) {
	for i := range x86.Groups {
		g := &x86.Groups[i]
		want := w.Processor.Features[i]
		p.Unless(want, want, func() {
			for bit := range g.Names {
				if want>>bit&1 != 0 {
					p.MustHave(raw.Concat("this processor lacks ", g.Names[bit], ", which the guest has found on another"),
						1<<bit, 1<<bit, plan.Last)
				}
			}
		}, plan.Processor, int(g.Leaf), 0)
	}
	states := w.Processor.States
	p.MustHave("this processor has fewer registers of floating point enabled than the guest has found on another", states, states, plan.States)
	if w.Processor.Last != 0 {
		p.MustHave("this processor stores its registers (XSAVE) otherwise than the one that the guest has run on",
			1<<32-1, uint64(w.Processor.Last), plan.Processor, x86.StatesLeaf, x86.StateLast)
	}
}

// whole plans that the executable is as long as it was made: a missing part would fault
// when it is used. It returns the place of the record for the size, which is known only
// once the plan is complete.
func (d *descriptors) whole() (record int) {
	fd := d.take()
	d.When(plan.Exact, uint64(fd), func() {
		record = d.Here()
		d.Must("the executable is damaged: it is not as long as gocat seal made it", 0, unix.SYS_LSEEK, fd, 0, unix.SEEK_END)
		d.Try(unix.SYS_CLOSE, fd)
	}, unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString("/proc/self/exe"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	d.free(fd)
	return record
}

// once plans that the executable's name goes, which succeeds a single time. The
// kernel says what its name is.
func (w *Warm) once(p *plan.Plan) {
	if !w.Once {
		return
	}
	name := p.Store(make([]byte, 4096)) // PATH_MAX, with the NUL that readlink does not write
	p.Succeed("could not ask for the executable's name, which is to be removed as it starts a single time", unix.SYS_READLINK, raw.CString("/proc/self/exe"), name, 4095)
	p.Must("this guest starts a single time, and has (gocat seal --once)", 0, unix.SYS_UNLINK, name)
}

// resume plans the last things that a guest that has run before needs: its timer, its
// thread's words and, if it knows of clones, what tells it that it is one.
func (s *sealed) resume(p *plan.Plan) {
	w := s.Warm
	if w == nil {
		return
	}
	alarm := w.Alarm
	if at := s.Image.Generation; at != 0 {
		p.Must("could not give the guest a generation of its own", abi.GenerationIDSize, unix.SYS_GETRANDOM, at+abi.GenerationID, abi.GenerationIDSize, 0)
		alarm = [4]uint64{3: 1} // long ago: its wait ends, so that it looks
	}
	p.Must("could not set the guest's timer", 0, unix.SYS_TIMERFD_SETTIME, s.fds.timer, unix.TFD_TIMER_ABSTIME, plan.Words(alarm[:]...), 0)
	for _, base := range []struct{ code, at uint64 }{{abi.ArchSetFS, w.Registers.FSBase}, {archSetGS, w.Registers.GSBase}} {
		if base.at != 0 {
			p.Must("could not set the base of a segment", 0, unix.SYS_ARCH_PRCTL, base.code, base.at)
		}
	}
}
