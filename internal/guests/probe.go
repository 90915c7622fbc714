package guests

import (
	"unsafe"

	"gocat/internal/image"
)

// Addresses in a probe, beside its text at image.MinAddr.
const (
	// probeBSS is where its state begins, and the limit of its rodata.
	probeBSS = image.MinAddr + 0x40000
	// Scratch is memory of ScratchSize bytes, zero at the start, that the probe
	// itself does not use.
	Scratch = probeBSS + 0x2000
	// ScratchSize is the size of Scratch in bytes.
	ScratchSize = 0x10000
)

// Probe is a guest that carries out a list of steps: system calls, port
// accesses, memory accesses or any machine code, with any arguments. Tests use
// it to try on a tender whatever a hostile guest might.
//
// After its last step a probe exits with status 0. A step whose check fails ends
// it: it prints "probe: step N: got 0x..., want 0x..." and exits with the step's
// status.
type Probe struct {
	a        *assembly
	target   image.Target
	manifest image.Manifest
	steps    []Step
	vars     uint64 // bytes of Scratch given out, from its end
	timer    uint64
	fault    uint64
	signals  uint64
}

// Value is a number that a probe works out when it comes to it.
type Value struct {
	N    uint64
	from uint64 // from bits
	plus uint64
}

// Where a Value comes from, besides N.
const (
	fromBoot = 1 << iota // add the address of the boot info
	from64               // then load 8 bytes from there
	from32               // or 4
)

// N is the number n.
func N(n uint64) Value { return Value{N: n} }

// Errno is what a system call that fails with errno n returns.
func Errno(n uint64) Value { return Value{N: -n} }

// At is the 8 bytes at address.
func At(address uint64) Value { return Value{N: address, from: from64} }

// At32 is the 4 bytes at address, zero-extended.
func At32(address uint64) Value { return Value{N: address, from: from32} }

// Boot is the 8 bytes at an offset in the tender's boot info.
func Boot(offset uint64) Value { return Value{N: offset, from: fromBoot | from64} }

// Boot32 is the 4 bytes at an offset in the tender's boot info, zero-extended.
func Boot32(offset uint64) Value { return Value{N: offset, from: fromBoot | from32} }

// BootAddress is the address of the tender's boot info.
func BootAddress() Value { return Value{from: fromBoot} }

// Plus is v + n.
func (v Value) Plus(n uint64) Value { v.plus += n; return v }

// Check is how a step's result must compare with what is wanted.
type Check uint64

// Checks.
const (
	None Check = iota
	Equal
	NotEqual
)

// Step calls Code with the given registers; the result is RAX on its return.
// Code may change any register and any memory of Scratch. The stack is of 1 KiB.
type Step struct {
	Code                        Value
	AX, DI, SI, DX, R10, R8, R9 Value
	Save                        uint64 // address where the result is stored; 0: nowhere
	Check                       Check
	Want                        Value  // evaluated after the call
	Status                      uint64 // with which a failed check exits; 0 means 1

	elseStep uint64 // address of the step after a failed check, instead of exiting; a loop
}

// EntryReg is a register as the tender set it when it entered the guest; see
// Probe.Entry.
type EntryReg int

// Registers at the entry.
const (
	EntryAX EntryReg = iota
	EntryCX
	EntryDX
	EntrySI
	EntryDI
	EntryBX
	EntryBP
	EntryR8
	EntryR9
	EntryR10
	EntryR11
	EntryR12
	EntryR13
	EntryR14
	EntryR15
	EntryFlags
	EntrySP
	entryRegs // how many
)

// NewProbe starts a probe for target that declares devices, whose handles are 1,
// 2 and so on.
func NewProbe(target image.Target, devices ...image.Entry) *Probe {
	p := &Probe{a: newAssembly(), target: target}
	p.manifest = append(image.Manifest{{Type: image.Reserved}}, devices...)
	p.a.target(target)
	p.a.link.value = p.a.routine(probeValueRoutine)
	return p
}

// Do adds steps.
func (p *Probe) Do(steps ...Step) { p.steps = append(p.steps, steps...) }

// Data places constant data in the rodata and returns its address, a multiple of
// 8.
func (p *Probe) Data(b []byte) uint64 { return p.a.data(b) }

// Code places machine code in the text and returns its address, a multiple of
// 16. A step that calls it goes on when it returns.
func (p *Probe) Code(b []byte) uint64 { return p.a.code(b) }

// Var returns the address of 8 bytes of Scratch, at its end, for the use of the
// caller alone.
func (p *Probe) Var() uint64 {
	p.vars += 8
	return Scratch + ScratchSize - p.vars
}

// Entry is a register as the tender set it when it entered the guest.
func (p *Probe) Entry(r EntryReg) Value {
	return At(probeBSS + uint64(unsafe.Offsetof(probeState{}.entry)) + 8*uint64(r))
}

// Timer makes the image ask for a timer, whose words are at address, in Scratch.
// The first is 1 at the start: the timer does not interrupt before that is 0.
func (p *Probe) Timer(address uint64) { p.timer = address }

// Handler makes the image of an spt probe ask for the signals of its faults, which
// gocat has the code at address handle.
func (p *Probe) Handler(address uint64) { p.fault = address }

// Signals makes the image ask for SIGTERM and SIGINT, with a word at address, in
// Scratch.
func (p *Probe) Signals(address uint64) { p.signals = address }

// Image returns the image.
func (p *Probe) Image() ([]byte, error) {
	a, l := p.a, &p.a.link
	start := a.routine(probeStartRoutine)
	l.state = probeBSS
	l.failed = a.template("probe: step " + dec + ": got 0x" + hex1 + ", want 0x" + hex2 + "\n")
	l.steps = a.data(nil)
	for _, s := range p.steps {
		if s.elseStep != 0 {
			s.elseStep = l.steps + (s.elseStep-1)*uint64(unsafe.Sizeof(s))
		}
		if s.Status == 0 {
			s.Status = 1
		}
		a.data(asBytes(&s))
	}
	l.stepsEnd = a.data(nil)
	return a.image(p.target, start, probeBSS, Scratch+ScratchSize-probeBSS, p.manifest, p.timer, p.fault, p.signals)
}
