package debug

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/core"
	"gocat/internal/image"
	"gocat/internal/ptrace"
	"gocat/kvmhvt"
)

// lookHVT examines an hvt guest, whose tender is stopped. Its registers are in KVM, which
// tells them only to the tender. So the tender has to ask, by calls that the tracer makes
// it carry out. The tender's filter allows these calls except for the FPU, SSE and AVX
// registers; where the kernel permits it, the filter is suspended for them. The rest is
// read from the tender's memory.
func lookHVT(r Running, m processMemory) (*core.Guest, error) {
	vcpu, err := vcpuOf(r.PID)
	if err != nil {
		return nil, err
	}
	maps, err := m.list()
	if err != nil {
		return nil, err
	}
	base, err := m.guestMemory(maps, r.Memory)
	if err != nil {
		return nil, err
	}
	state, err := m.hvtState(r.PID, vcpu, maps)
	if err != nil {
		return nil, err
	}
	size := kvmhvt.RoundMemory(r.Memory)
	touched := m.touched(base+lowest, base+size)
	if touched == nil {
		return nil, errors.New("could not see which memory the guest has used")
	}
	return &core.Guest{
		Registers: decodeState(state),
		// What of it the guest may write or execute is in its page tables, which gdb
		// does not need.
		Regions: []core.Region{{Start: lowest, End: size, Prot: image.R | image.W | image.X,
			Touched: func(addr uint64) bool { return touched(base + addr) }}},
		Read: func(addr uint64, b []byte) int { return m.read(base+addr, b) },
	}, nil
}

// vcpuOf finds the tender's descriptor of the virtual processor.
func vcpuOf(pid int) (fd uint64, err error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && strings.HasPrefix(to, "anon_inode:kvm-vcpu:") {
			return strconv.ParseUint(e.Name(), 10, 32)
		}
	}
	return 0, errors.Join(err, fmt.Errorf("process %d has no virtual processor", pid))
}

// guestMemory finds where the tender has mapped the guest's memory: in one piece,
// with the boot info that tells the guest its size.
func (m processMemory) guestMemory(maps []mapping, memory uint64) (base uint64, err error) {
	memory = kvmhvt.RoundMemory(memory)
	for i, first := range maps {
		end := first.start
		for _, next := range maps[i:] {
			if next.start != end || next.path != "" {
				break
			}
			end = next.end
		}
		if end-first.start < memory {
			continue
		}
		var b [8]byte
		if m.read(first.start+lowest, b[:]) == len(b) {
			// The network ring, if there is one, has the last 2 MB of 4 GB.
			if told := binary.LittleEndian.Uint64(b[:]); told == memory || told < memory && memory-told <= 2<<20 {
				return first.start, nil
			}
		}
	}
	return 0, errors.New("found no guest memory in its tender: it was started by another version of gocat, or ends")
}

// patience is how often to try again while the tender is in its own code and not
// in the guest.
const patience = 1000

// hvtState has the tender ask KVM for the guest's registers, at a moment at which
// they are the guest's, and returns them as kvmhvt.DebugGet does.
func (m processMemory) hvtState(pid int, vcpu uint64, maps []mapping) ([]byte, error) {
	for range patience {
		state, err := m.askKVM(pid, vcpu, maps)
		if err != nil || !kvmhvt.InShim(state) {
			return state, err
		}
		if err := unix.PtraceCont(pid, 0); err != nil {
			return nil, err
		}
		time.Sleep(time.Millisecond)
		if err := interrupt(pid); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the guest does nothing but fault: its registers are the tender's own each time")
}

// askKVM has the tender's answers written to the unused end of its stack.
func (m processMemory) askKVM(pid int, vcpu uint64, maps []mapping) (state []byte, err error) {
	at, room, err := m.places(pid, maps)
	if err != nil {
		return nil, err
	}
	c, err := ptrace.NewCalls(pid, at)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer func() { err = errors.Join(err, c.End()) }()
	for _, q := range kvmhvt.StateRequests {
		part := make([]byte, q.Size)
		if q.Filtered && !c.Unfiltered {
			state = append(state, part...) // zeros: the contents cannot be read
			continue
		}
		if err := c.Call(unix.SYS_IOCTL, vcpu, q.Request, room); err != nil {
			return nil, fmt.Errorf("process %d: %s: %w", pid, q.Name, err)
		}
		if m.read(room, part) != len(part) {
			return nil, fmt.Errorf("process %d: %s: no answer", pid, q.Name)
		}
		state = append(state, part...)
	}
	return state, nil
}

// roomSize is more than any answer, in bytes.
const roomSize = 8 << 10

var syscallInstruction = []byte{0x0f, 0x05}

// places returns the address of a SYSCALL instruction in the process, that of the
// call it is in if it is in one, and of room that it does not use.
func (m processMemory) places(pid int, maps []mapping) (at, room uint64, err error) {
	for _, p := range maps {
		if p.path == "[stack]" && p.end-p.start >= 2*roomSize {
			room = p.start
		}
	}
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &regs); err != nil {
		return 0, 0, err
	}
	// The kernel makes the stack much longer than a tender needs.
	if room == 0 || regs.Rsp >= room && regs.Rsp < room+2*roomSize {
		return 0, 0, fmt.Errorf("process %d has no room on its stack", pid)
	}
	var b [2]byte
	if m.read(regs.Rip-2, b[:]) == len(b) && bytes.Equal(b[:], syscallInstruction) {
		return regs.Rip - 2, room, nil
	}
	for _, p := range maps {
		if p.prot&image.X == 0 || !strings.HasPrefix(p.path, "/") {
			continue
		}
		code := make([]byte, min(p.end-p.start, 64<<20))
		if i := bytes.Index(code[:m.read(p.start, code)], syscallInstruction); i >= 0 {
			return p.start + uint64(i), room, nil
		}
	}
	return 0, 0, fmt.Errorf("process %d has no code that is known", pid)
}
