package kvmhvt

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// A debugger's supervisor controls the guest through a socket of the kind
// SEQPACKET, Config.Debug: it serves GDB in a process of its own, and all that the
// tender understands are the requests below. The tender sends a DebugStop whenever
// the guest has stopped, before its first instruction too, and then answers
// requests until one lets the guest go on. Numbers are little-endian.

// DebugOp is what a request wants. A request is three words, the op, Addr and N,
// followed by data; its answer two, an error number and N, followed by data.
type DebugOp uint64

// Requests.
const (
	DebugGet      DebugOp = 1 + iota // registers: see DebugStateSize
	DebugSet                         // registers
	DebugRead                        // N bytes at Addr; the answer's N is how many there are
	DebugWrite                       // data at Addr
	DebugPoints                      // DR0 to DR3 and DR7
	DebugNext                        // the first page from Addr with contents: the answer's N; the end of memory if there is none
	DebugWaits                       // stop where the guest waits, from now on, and nowhere else
	DebugSnapshot                    // the State of a guest that waits, after which it does not go on
	DebugResume                      // let the guest run: by one instruction if Addr is 1, with signal N
)

// DebugReason says why the guest has stopped. A DebugStop is four words: 0, the
// reason, and two numbers.
type DebugReason uint64

// Reasons for a stop.
const (
	DebugStarted     DebugReason = 1 + iota // it has not begun
	DebugInterrupted                        // by DebugSignal
	DebugStepped
	DebugBreakpoint // a breakpoint instruction at RIP
	DebugMatched    // debug registers: the first number is DR6
	DebugFault      // an exception that the guest's own handler will get: the first number is the matching signal
	DebugWaiting    // in a poll: whether it asks for a snapshot, and the handles that have input
	DebugEnding     // the guest has ended: the exit status, and the signal that stands for its fault or 0
)

// Sizes in bytes of what passes through the socket.
const (
	debugHeader    = 24
	DebugData      = 32 << 10 // the most data of a request or an answer
	DebugStateSize = regsSize + sregsSize + xsaveSize
	regsSize       = 0x90  // struct kvm_regs
	sregsSize      = 0x138 // struct kvm_sregs
	xsaveSize      = 4096  // struct kvm_xsave
)

// StateRequests are the requests of ioctl on the virtual processor that give the
// state of DebugGet, in order. A tender without a debugger may not make those that
// are Filtered.
var StateRequests = [...]struct {
	Name     string
	Request  uint64
	Size     int // bytes of the answer
	Filtered bool
}{
	{"KVM_GET_REGS", kvmGetRegs, regsSize, false},
	{"KVM_GET_SREGS", kvmGetSregs, sregsSize, false},
	{"KVM_GET_XSAVE", kvmGetXsave, xsaveSize, true},
}

// InShim reports whether registers, as DebugGet gives them, are those of the shim
// and not the guest's.
func InShim(state []byte) bool {
	const rip = 16 * 8
	return load64(state, rip)-systemLinear < mappedPages*image.PageSize
}

// DebugSignal interrupts a guest that runs or waits: a real-time signal, which
// nothing else uses.
const DebugSignal = unix.Signal(40)

// debugPort is the tender's end.
type debugPort struct {
	fd     int
	step   bool   // until the next stop
	halted bool   // the next HLT may be one that was served
	fresh  bool   // KVM must be told what to look for, once the guest's registers are set
	owned  bool   // the guest's registers are those in machine.regs, not those in the processor
	shim   bool   // and the bases of its FS and GS those in cpu: the processor is in the shim
	waits  bool   // DebugWaits
	poll   uint64 // address of the arguments of the poll that it waits in
	points guestDebug
	in     [debugHeader + DebugData]byte
	out    [debugHeader + DebugData]byte
	xsave  [xsaveSize]byte
	state  State
}

// port is the one of this process, if it has one.
var port debugPort

// debugged says that the handler of DebugSignal has run, and debugRun is what
// makes KVM_RUN return then: struct kvm_run.
var (
	debugged uint32
	//lint:ignore U1000 the handler uses it
	debugRun *byte
)

// prepareDebug connects the guest to the socket that c.Debug names.
func (t *tender) prepareDebug() {
	if t.config.Debug == NoFD {
		return
	}
	port.fd = t.config.Debug
	t.debug = &port
	debugRun = &t.machine.run[0]
	handle(DebugSignal, debugPC())
}

// interrupted reports whether the supervisor wants the guest to stop.
func (d *debugPort) interrupted(m *machine) bool {
	if d == nil || debugged == 0 {
		return false
	}
	debugged = 0
	m.run[runImmediateExit] = 0
	return true
}

// pause stops a guest that waits in a hypercall, if the supervisor wants that.
func (t *tender) pause() error {
	if t == nil || !t.debug.interrupted(t.machine) {
		return nil
	}
	_, err := t.stopped(DebugInterrupted, 0, 0)
	return err
}

// served reports whether a HLT that the guest did not execute is one of the shim's
// that was served already.
func (d *debugPort) served() bool {
	if d == nil || !d.halted {
		return false
	}
	d.halted = false
	return true
}

// debugExit is an exit of the kind KVM_EXIT_DEBUG.
func (t *tender) debugExit() error {
	m := t.machine
	if err := m.getSregs(); err != nil {
		return err
	}
	if t.config.CPL == 3 && m.sregs.cs.dpl != 3 {
		// A KVM that emulates the shim's HLT tells of it as of a step, and may leave
		// the machine for the HLT once more later.
		t.debug.halted = true
		return t.trap()
	}
	reason, status := DebugStepped, m.run64(runDebugDR6)
	switch {
	case m.run32(runDebugException) == vectorBP:
		reason = DebugBreakpoint
	case status&15 != 0:
		reason = DebugMatched
	}
	_, err := t.stopped(reason, status, 0)
	return err
}

// afterEmulation stops a guest that is stepped through after an instruction that
// the tender has carried out for it.
func (t *tender) afterEmulation(err error) error {
	d := t.debug
	if err != nil || !d.step {
		return err
	}
	t.cpu.rflags &^= flagTF
	d.owned, d.shim = true, true
	_, err = t.stopped(DebugStepped, 0, 0)
	d.owned, d.shim = false, false
	return err
}

// faulted stops a guest at an exception, before its own handler gets it, whose
// registers are in machine.regs. It reports whether that handler gets it.
func (t *tender) faulted(vector int) (deliver bool, err error) {
	d := t.debug
	if d == nil {
		return true, nil
	}
	reason, signal := DebugFault, unix.SIGSEGV
	switch vector {
	case vectorTimer:
		return true, nil
	case vectorBP:
		reason = DebugBreakpoint
		t.machine.regs.rip--
	case vectorDB:
		if signal = unix.SIGTRAP; d.step {
			reason = DebugStepped
		}
	case vectorUD:
		signal = unix.SIGILL
	case 0, 16, 19: // #DE, #MF, #XM
		signal = unix.SIGFPE
	case 11, 12, 17: // #NP, #SS, #AC
		signal = unix.SIGBUS
	}
	d.owned, d.shim = true, true
	passed, err := t.stopped(reason, uint64(signal), 0)
	d.owned, d.shim = false, false
	return passed != 0, err
}

// ended tells that the guest has ended, and serves the supervisor once more.
func (t *tender) ended(status int, fault bool) {
	if t.debug == nil {
		return
	}
	signal := uint64(0)
	if t.debug.owned = fault; fault {
		signal = uint64(unix.SIGSEGV)
	}
	t.stopped(DebugEnding, uint64(status), signal)
}

// stopped tells the supervisor that the guest has stopped and serves requests
// until the guest continues, with a signal or 0.
func (t *tender) stopped(reason DebugReason, a, b uint64) (signal uint64, err error) {
	d := t.debug
	d.step = false
	for i, w := range [...]uint64{0, uint64(reason), a, b} {
		binary.LittleEndian.PutUint64(d.out[8*i:], w)
	}
	if errno := sendPacket(d.fd, d.out[:32]); errno != 0 {
		return 0, because("the debugger's side is gone: ").errno(errno).err()
	}
	for {
		n, errno := receivePacket(d.fd, d.in[:])
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || n < debugHeader {
			return 0, because("the debugger's side is gone: ").errno(errno).err()
		}
		le := binary.LittleEndian
		op, addr, size := DebugOp(le.Uint64(d.in[:])), le.Uint64(d.in[8:]), le.Uint64(d.in[16:])
		if op == DebugResume {
			d.step, d.fresh = addr == 1, true
			return size, nil
		}
		failed, count, length := t.request(op, addr, size, d.in[debugHeader:n])
		le.PutUint64(d.out[:], uint64(failed))
		le.PutUint64(d.out[8:], count)
		if errno := sendPacket(d.fd, d.out[:16+length]); errno != 0 {
			return 0, because("the debugger's side is gone: ").errno(errno).err()
		}
	}
}

// request carries out a request. It returns an error number, the answer's number,
// and how much data is in d.out.
func (t *tender) request(op DebugOp, addr, size uint64, data []byte) (failed unix.Errno, n uint64, length int) {
	d := t.debug
	out := d.out[16:]
	switch op {
	case DebugGet:
		return t.getState(out), 0, DebugStateSize
	case DebugSet:
		if len(data) != DebugStateSize {
			return unix.EINVAL, 0, 0
		}
		return t.setState(data), 0, 0
	case DebugRead:
		b := t.accessible(addr, min(size, DebugData))
		return 0, uint64(len(b)), copy(out, b)
	case DebugWrite:
		b := t.accessible(addr, uint64(len(data)))
		if len(b) != len(data) {
			return unix.EFAULT, 0, 0
		}
		return t.poke(addr, b, data), uint64(len(data)), 0
	case DebugPoints:
		if len(data) != 5*8 {
			return unix.EINVAL, 0, 0
		}
		for i := range 4 {
			d.points.registers[i] = load64(data, 8*i)
		}
		d.points.registers[7] = load64(data, 32)
		return 0, 0, 0
	case DebugWaits:
		d.waits = true
		return 0, 0, 0
	case DebugSnapshot:
		return t.snapshot(&d.state), 0, copy(out, stateBytes(&d.state))
	case DebugNext:
		return 0, t.nextContents(addr), 0
	}
	return unix.ENOSYS, 0, 0
}

// accessible returns as many of n bytes at addr as are the guest's, whatever it may
// do with them: a breakpoint goes where the guest may not write.
func (t *tender) accessible(addr, n uint64) []byte {
	if l := t.layout; addr >= lowStart && addr < l.total {
		return t.machine.mem[addr:][:min(n, l.total-addr)]
	}
	return nil
}

// poke writes data to b, which is guest memory at addr, at privilege level 0 also
// what the host's mapping keeps from the guest: a breakpoint goes there.
func (t *tender) poke(addr uint64, b, data []byte) unix.Errno {
	end := addr + uint64(len(data))
	if errno := t.protectCode(addr, end, unix.PROT_READ|unix.PROT_WRITE); errno != 0 {
		return errno
	}
	copy(b, data)
	return t.protectCode(addr, end, unix.PROT_READ)
}

// protectCode protects those pages from addr to end that machine.protect does.
func (t *tender) protectCode(addr, end uint64, prot int) unix.Errno {
	if t.config.CPL != 0 {
		return 0
	}
	addr, end = addr&^(image.PageSize-1), (end+image.PageSize-1)&^(image.PageSize-1)
	for i := range t.layout.regions {
		r := &t.layout.regions[i]
		from, to := max(r.start, addr), min(r.end, end)
		if r.kept() && from < to {
			if errno := protect(t.machine.mem[from:to], prot); errno != 0 {
				return errno
			}
		}
	}
	return 0
}

// nextContents returns the address of the first page from addr that is not all
// zeros, or the end of memory.
func (t *tender) nextContents(addr uint64) uint64 {
	for addr = max(addr&^(image.PageSize-1), lowStart); addr < t.layout.total; addr += image.PageSize {
		page := t.machine.mem[addr:][:image.PageSize]
		for i := 0; i < image.PageSize; i += 8 {
			if load64(page, i) != 0 {
				return addr
			}
		}
	}
	return t.layout.total
}

// setPoints has KVM look for what the supervisor wants, when that has changed. A
// step begins where the processor is.
func (t *tender) setPoints() error {
	if t.debug == nil || !t.debug.fresh || t.debug.waits {
		return nil
	}
	t.debug.fresh = false
	p := &t.debug.points
	p.control = guestDebugEnable | guestDebugSoftware
	if p.registers[7] != 0 {
		p.control |= guestDebugHardware
	}
	if t.debug.step {
		p.control |= guestDebugStep
	}
	return failed("set debug registers", ioctlPtr(t.machine.vcpu, kvmSetGuestDebug, p))
}

// getState stores the guest's registers in b.
func (t *tender) getState(b []byte) unix.Errno {
	m, d := t.machine, t.debug
	if !d.owned {
		if errno := ioctlPtr(m.vcpu, kvmGetRegs, &m.regs); errno != 0 {
			return errno
		}
	}
	if errno := ioctlPtr(m.vcpu, kvmGetSregs, &m.sregs); errno != 0 {
		return errno
	}
	if d.owned && t.config.CPL == 3 { // the processor is in the shim
		m.sregs.cs, m.sregs.ss = codeSegment(selUserCode, 3), dataSegment(selUserData, 3)
	}
	if d.shim {
		m.sregs.fs.base, m.sregs.gs.base = t.cpu.fsBase, t.cpu.gsBase
	}
	if errno := ioctlPtr(m.vcpu, kvmGetXsave, &d.xsave); errno != 0 {
		return errno
	}
	copy(b, regsBytes(&m.regs))
	copy(b[regsSize:], sregsBytes(&m.sregs))
	copy(b[regsSize+sregsSize:], d.xsave[:])
	return 0
}

// setState changes the guest's registers to what b has. Of the system registers
// only the bases of FS and GS can change: the others are what confines the guest.
func (t *tender) setState(b []byte) unix.Errno {
	m, d := t.machine, t.debug
	flags := m.regs.rflags
	copy(regsBytes(&m.regs), b[:regsSize])
	if t.config.CPL == 3 {
		m.regs.rflags = userFlags(m.regs.rflags)
	} else {
		const arithmetic = 0xcd5 | 1<<21 // and the direction, and ID
		m.regs.rflags = m.regs.rflags&arithmetic | flags&^arithmetic
	}
	if !canonical(m.regs.rip) {
		return unix.EINVAL
	}
	if !d.owned {
		if errno := ioctlPtr(m.vcpu, kvmSetRegs, &m.regs); errno != 0 {
			return errno
		}
	}
	// struct kvm_sregs begins with segments of 24 bytes: cs, ds, es, fs, gs.
	fs, gs := load64(b[regsSize:], 3*24), load64(b[regsSize:], 4*24)
	if !canonical(fs) || !canonical(gs) {
		return unix.EINVAL
	}
	m.sregs.fs.base, m.sregs.gs.base = fs, gs
	t.cpu.fsBase, t.cpu.gsBase = fs, gs
	if !d.owned {
		if errno := ioctlPtr(m.vcpu, kvmSetSregs, &m.sregs); errno != 0 {
			return errno
		}
	}
	// Of the extended state only FPU, SSE and AVX: the header says what is there.
	const own = 7
	x := b[regsSize+sregsSize:]
	old := load64(d.xsave[:], 512)
	copy(d.xsave[:464], x)
	copy(d.xsave[576:832], x[576:])
	store64(d.xsave[:], 512, old&^own|load64(x, 512)&own)
	return ioctlPtr(m.vcpu, kvmSetXsave, &d.xsave)
}
