package kvmhvt

import "gocat/internal/image"

// cpu is the processor as a guest at privilege level 3 believes to have it: at
// level 0. The tender emulates what the two differ in.
type cpu struct {
	*regs
	fsBase, gsBase, kernelGSBase uint64
	cr2                          uint64
	gdt, idt                     dtable // the guest's own; the processor never uses them
	tr                           uint16
	mem                          guestMemory
	timer                        []byte               // what the guest shares with its timer, or nil
	code                         [maxInstruction]byte // the instruction that fetch copied
}

// Model-specific registers that a guest may use.
const (
	msrTSC          = 0x10
	msrEFER         = 0xc0000080
	msrFSBase       = 0xc0000100
	msrGSBase       = 0xc0000101
	msrKernelGSBase = 0xc0000102
)

// maxInstruction is the longest instruction in bytes.
const maxInstruction = 15

// fetch decodes the instruction at rip. code is nil when there is none, and valid
// until the next call.
func (c *cpu) fetch() (in instruction, code []byte) {
	n := min(maxInstruction, c.mem.layout.size-min(c.rip, c.mem.layout.size))
	code, err := c.mem.slice("instruction", c.rip, n, image.R)
	if err != nil || n == 0 {
		return in, nil
	}
	code = c.code[:copy(c.code[:], code)]
	return decode(code), code
}

// privileged emulates the instruction at rip if only level 0 may execute it.
// It is false for an instruction that faulted for another reason.
func (c *cpu) privileged() (bool, error) {
	in, code := c.fetch()
	var err error
	switch in.op {
	case opOther:
		return false, nil
	case opCLI, opSTI, opCLTS:
		// There are no interrupts, and floating point is always on.
	case opMoveSegment:
		// All segments are flat.
	case opHLT:
		return true, because("the guest halted without an exit status: rip=").hex(c.rip).errAt(c.rip)
	case opLGDT:
		err = c.loadTable(&in, &c.gdt)
	case opLIDT:
		err = c.loadTable(&in, &c.idt)
	case opLTR:
		err = c.loadTR(&in)
	case opWRMSR:
		err = c.writeMSR()
	case opRDMSR:
		err = c.readMSR()
	case opReadControl:
		err = c.readControl(&in)
	case opWriteControl:
		err = c.writeControl(&in)
	case opFarReturn:
		return true, c.farReturn(&in)
	case opInterruptReturn:
		if in.wide {
			return true, c.interruptReturn()
		}
		err = errUnknown
	case opPort, opPortImmediate:
		port := in.imm
		if in.op == opPort {
			port = uint16(c.rdx)
		}
		return true, because("Invalid guest port access: port=").hex(uint64(port)).text(": rip=").hex(c.rip).errAt(c.rip)
	default:
		err = errUnknown
	}
	if err == nil {
		c.rip += uint64(in.size)
		return true, nil
	}
	switch s, _ := err.(*stop); s {
	case errOther:
		return false, nil
	case errUnknown:
		because("the guest at privilege level 3 used an instruction that is not emulated: ")
		reason.instruction(&in, code)
		reason.text(": ").registers(c.regs)
		return true, reason.text(": level 0 runs such guests").errAt(c.rip)
	}
	return true, err
}

// inRow is how many instructions are emulated at most because of one exception.
const inRow = 8

// following emulates instructions that come next and would leave the guest as well,
// whatever they do: each exit that is saved is many times their cost. They lie in a
// page that the guest was executing.
func (c *cpu) following(page uint64) error {
	for range inRow - 1 {
		in, _ := c.fetch()
		switch in.op {
		case opLGDT, opLIDT, opLTR, opWRMSR:
		default:
			return nil
		}
		if c.rip/image.PageSize != page || (c.rip+uint64(in.size)-1)/image.PageSize != page || c.rflags&flagTF != 0 {
			return nil
		}
		if done, err := c.privileged(); !done || err != nil {
			return err
		}
	}
	return nil
}

// Reasons not to emulate an instruction.
var (
	errUnknown = &stop{status: 1, reason: "not emulated"}
	errOther   = &stop{status: 1, reason: "not privileged"}
)

// instruction appends an instruction in words and bytes; code may be longer.
func (l *line) instruction(in *instruction, code []byte) *line {
	switch in.op {
	case opOther, opUnknown:
		return l.text("unknown (").bytes(code).text(")")
	case opReadControl:
		l.text("MOV ").register(in.rm).text(", CR").decimal(uint64(in.reg))
	case opWriteControl:
		l.text("MOV CR").decimal(uint64(in.reg)).text(", ").register(in.rm)
	default:
		l.text(opNames[in.op])
	}
	return l.text(" (").bytes(code[:in.size]).text(")")
}

// register appends the name of a general register.
func (l *line) register(n uint8) *line {
	if n >= 8 {
		return l.text("R").decimal(uint64(n))
	}
	return l.text("RAXRCXRDXRBXRSPRBPRSIRDI"[3*n:][:3])
}

// registers appends all general registers.
func (l *line) registers(r *regs) *line {
	all := [...]struct {
		name  string
		value uint64
	}{
		{"rip=", r.rip}, {" rsp=", r.rsp}, {" rflags=", r.rflags}, {" rax=", r.rax}, {" rbx=", r.rbx}, {" rcx=", r.rcx}, {" rdx=", r.rdx},
		{" rsi=", r.rsi}, {" rdi=", r.rdi}, {" rbp=", r.rbp}, {" r8=", r.r8}, {" r9=", r.r9}, {" r10=", r.r10}, {" r11=", r.r11},
		{" r12=", r.r12}, {" r13=", r.r13}, {" r14=", r.r14}, {" r15=", r.r15},
	}
	for i := range all {
		l.text(all[i].name).hex(all[i].value)
	}
	return l
}

// register returns where the general register of a number is.
func (r *regs) register(n uint8) *uint64 {
	switch n & 15 {
	case 0:
		return &r.rax
	case 1:
		return &r.rcx
	case 2:
		return &r.rdx
	case 3:
		return &r.rbx
	case 4:
		return &r.rsp
	case 5:
		return &r.rbp
	case 6:
		return &r.rsi
	case 7:
		return &r.rdi
	case 8:
		return &r.r8
	case 9:
		return &r.r9
	case 10:
		return &r.r10
	case 11:
		return &r.r11
	case 12:
		return &r.r12
	case 13:
		return &r.r13
	case 14:
		return &r.r14
	}
	return &r.r15
}

// address returns the linear address of a memory operand.
func (c *cpu) address(in *instruction) uint64 {
	a := uint64(in.disp)
	switch {
	case in.base == ripRegister:
		a += c.rip + uint64(in.size)
	case in.base != noRegister:
		a += *c.register(uint8(in.base))
	}
	if in.index != noRegister {
		a += *c.register(uint8(in.index)) << in.scale
	}
	if in.addr32 {
		a = uint64(uint32(a))
	}
	switch in.segment {
	case 0x64:
		a += c.fsBase
	case 0x65:
		a += c.gsBase
	}
	return a
}

// loadTable emulates LGDT and LIDT: the values are only remembered.
func (c *cpu) loadTable(in *instruction, t *dtable) error {
	b, err := c.mem.readable(opNames[in.op], c.address(in), 10)
	if err != nil {
		return err
	}
	t.limit = uint16(b[0]) | uint16(b[1])<<8
	t.base = load64(b, 2)
	return nil
}

// loadTR emulates LTR: the selector is only remembered.
func (c *cpu) loadTR(in *instruction) error {
	if !in.memory {
		c.tr = uint16(*c.register(in.rm))
		return nil
	}
	b, err := c.mem.readable("LTR", c.address(in), 2)
	if err == nil {
		c.tr = uint16(b[0]) | uint16(b[1])<<8
	}
	return err
}

// readControl emulates MOV from a control register.
func (c *cpu) readControl(in *instruction) error {
	v, ok := c.control(in.reg)
	if !ok {
		return errUnknown
	}
	*c.register(in.rm) = v
	return nil
}

// writeControl emulates a MOV to a control register that changes nothing. Others
// are not known.
func (c *cpu) writeControl(in *instruction) error {
	if v, ok := c.control(in.reg); !ok || *c.register(in.rm) != v {
		return errUnknown
	}
	return nil
}

// control returns the value of a control register that a guest may see.
func (c *cpu) control(n uint8) (uint64, bool) {
	switch n {
	case 0:
		return cr0Init, true
	case 2:
		return c.cr2, true
	case 4:
		return cr4Init, true
	}
	return 0, false
}

// msr returns where a model-specific register that can be changed is, or nil.
func (c *cpu) msr() *uint64 {
	switch uint32(c.rcx) {
	case msrFSBase:
		return &c.fsBase
	case msrGSBase:
		return &c.gsBase
	case msrKernelGSBase:
		return &c.kernelGSBase
	}
	return nil
}

func (c *cpu) writeMSR() error {
	v := c.rdx<<32 | c.rax&0xffffffff
	p := c.msr()
	if p == nil {
		return errUnknown
	}
	if !canonical(v) {
		return errOther
	}
	*p = v
	return nil
}

func (c *cpu) readMSR() error {
	var v uint64
	switch p := c.msr(); {
	case p != nil:
		v = *p
	case uint32(c.rcx) == msrEFER:
		v = eferLME | eferLMA | eferNXE
	default:
		return errUnknown
	}
	c.rax, c.rdx = v&0xffffffff, v>>32
	return nil
}

// canonical says whether the upper bits of an address repeat bit 47.
func canonical(a uint64) bool { return uint64(int64(a<<16)>>16) == a }

// pop reads n words from the guest's stack, of which no more than five are ever
// wanted, without removing them.
func (c *cpu) pop(what string, n int) (v [5]uint64, err error) {
	b, err := c.mem.readable(what, c.rsp, uint64(8*n))
	if err != nil {
		return v, err
	}
	for i := range v[:n] {
		v[i] = load64(b, 8*i)
	}
	return v, nil
}

// farReturn emulates a 64-bit RET FAR. The code segment stays.
func (c *cpu) farReturn(in *instruction) error {
	if !in.wide {
		return errUnknownFar
	}
	v, err := c.pop("far return", 2)
	if err != nil {
		return err
	}
	c.rip, c.rsp = v[0], c.rsp+16+uint64(in.imm)
	return c.checkRIP()
}

var errUnknownFar = &stop{status: 1, reason: "the guest used a 32-bit far return, which is not emulated at privilege level 3: level 0 runs such guests"}

// interruptReturn emulates IRETQ. The segments stay.
func (c *cpu) interruptReturn() error {
	v, err := c.pop("interrupt return", 5)
	if err != nil {
		return err
	}
	c.rip, c.rsp, c.rflags = v[0], v[3], userFlags(v[2])
	return c.checkRIP()
}

func (c *cpu) checkRIP() error {
	if !canonical(c.rip) {
		return because("the guest returned to ").hex(c.rip).text(", which is no address").err()
	}
	return nil
}

// userFlags are flags that a guest asks for, with those that are not its to
// change as they must be.
func userFlags(f uint64) uint64 {
	const settable = 0xcd5 | flagTF | flagRF | flagAC | 1<<21
	return f&settable | flagFixed | flagIOPL3
}
