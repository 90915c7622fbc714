package kvmhvt

import (
	"bytes"
	"fmt"

	"golang.org/x/arch/x86/x86asm"

	"gocat/internal/image"
)

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

// fetch decodes the instruction at rip. raw is nil when there is none, and valid
// until the next call.
func (c *cpu) fetch() (inst x86asm.Inst, raw []byte) {
	n := min(maxInstruction, c.mem.layout.size-min(c.rip, c.mem.layout.size))
	raw, err := c.mem.slice("instruction", c.rip, n, image.R)
	if err != nil || n == 0 {
		return inst, nil
	}
	raw = c.code[:copy(c.code[:], raw)]
	inst, err = x86asm.Decode(raw, 64)
	if err != nil {
		return x86asm.Inst{}, raw
	}
	return inst, raw
}

// privileged emulates the instruction at rip if only level 0 may execute it.
// It is false for an instruction that faulted for another reason.
func (c *cpu) privileged() (bool, error) {
	inst, raw := c.fetch()
	if raw == nil {
		return false, nil
	}
	var err error
	switch inst.Op {
	case x86asm.CLI, x86asm.STI, x86asm.CLTS:
		// There are no interrupts, and floating point is always on.
	case x86asm.HLT:
		return true, stopAt(c.rip, "the guest halted without an exit status: rip=%#x", c.rip)
	case x86asm.LGDT:
		err = c.loadTable(inst, &c.gdt)
	case x86asm.LIDT:
		err = c.loadTable(inst, &c.idt)
	case x86asm.LTR:
		err = c.loadTR(inst)
	case x86asm.WRMSR:
		err = c.writeMSR()
	case x86asm.RDMSR:
		err = c.readMSR()
	case x86asm.MOV:
		err = c.moveSpecial(&inst, raw)
	case x86asm.LRET:
		return true, c.farReturn(inst)
	case x86asm.IRETQ:
		return true, c.interruptReturn()
	case x86asm.OUT, x86asm.IN, x86asm.OUTSB, x86asm.OUTSW, x86asm.OUTSD, x86asm.INSB, x86asm.INSW, x86asm.INSD:
		return true, stopAt(c.rip, "Invalid guest port access: port=0x%x: rip=%#x", c.port(inst), c.rip)
	default:
		if !onlyLevel0(inst.Op, raw) {
			return false, nil
		}
		err = errUnknown
	}
	if err == errOther {
		return false, nil
	}
	if err == errUnknown {
		return true, stopAt(c.rip, "the guest at privilege level 3 used an instruction that is not emulated: %s: %s: --cpl=0 runs such guests", disassemble(inst, raw), c.regs)
	}
	if err != nil {
		return true, err
	}
	c.rip += uint64(inst.Len)
	return true, nil
}

// Reasons not to emulate an instruction.
var (
	errUnknown error = &stop{status: 1, reason: "not emulated"}
	errOther   error = &stop{status: 1, reason: "not privileged"}
)

// onlyLevel0 says whether an instruction that raised #GP did so because of the
// privilege level, besides those that privileged knows.
func onlyLevel0(op x86asm.Op, raw []byte) bool {
	switch op {
	case x86asm.INVD, x86asm.WBINVD, x86asm.INVLPG, x86asm.INVPCID, x86asm.LLDT, x86asm.LMSW,
		x86asm.SWAPGS, x86asm.SYSRET, x86asm.SYSEXIT, x86asm.XSETBV, x86asm.RDPMC, x86asm.MONITOR, x86asm.MWAIT,
		x86asm.IRET, x86asm.IRETD, x86asm.XRSTORS64, x86asm.XRSTORS:
		return true
	}
	// What the decoder does not know and is in the group of system instructions.
	return op == 0 && len(raw) > 1 && raw[0] == 0x0f && raw[1] == 0x01
}

// disassemble is an instruction in words and bytes; raw may be longer.
func disassemble(inst x86asm.Inst, raw []byte) string {
	if inst.Op == 0 {
		return fmt.Sprintf("unknown (% x)", raw)
	}
	// Not by inst.String, which would have every process initialise its names.
	words, sep := inst.Op.String(), " "
	for _, a := range inst.Args {
		if a == nil {
			break
		}
		words += sep + a.String()
		sep = ", "
	}
	return fmt.Sprintf("%s (% x)", words, raw[:inst.Len])
}

func (r *regs) String() string {
	return fmt.Sprintf("rip=%#x rsp=%#x rflags=%#x rax=%#x rbx=%#x rcx=%#x rdx=%#x rsi=%#x rdi=%#x rbp=%#x r8=%#x r9=%#x r10=%#x r11=%#x r12=%#x r13=%#x r14=%#x r15=%#x",
		r.rip, r.rsp, r.rflags, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15)
}

// register returns where a general register is, or nil.
func (r *regs) register(reg x86asm.Reg) *uint64 {
	all := [...]*uint64{&r.rax, &r.rcx, &r.rdx, &r.rbx, &r.rsp, &r.rbp, &r.rsi, &r.rdi,
		&r.r8, &r.r9, &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15}
	var i x86asm.Reg
	switch {
	case reg >= x86asm.RAX && reg <= x86asm.R15:
		i = reg - x86asm.RAX
	case reg >= x86asm.EAX && reg <= x86asm.R15L:
		i = reg - x86asm.EAX
	case reg >= x86asm.AX && reg <= x86asm.R15W:
		i = reg - x86asm.AX
	default:
		return nil
	}
	return all[i]
}

// address returns the linear address of a memory operand.
func (c *cpu) address(inst x86asm.Inst, m x86asm.Mem) uint64 {
	a := uint64(m.Disp)
	if m.Base == x86asm.RIP {
		a += c.rip + uint64(inst.Len)
	} else if r := c.register(m.Base); r != nil {
		a += *r
	}
	if r := c.register(m.Index); r != nil {
		a += *r * uint64(m.Scale)
	}
	if inst.AddrSize == 32 {
		a = uint64(uint32(a))
	}
	switch m.Segment {
	case x86asm.FS:
		a += c.fsBase
	case x86asm.GS:
		a += c.gsBase
	}
	return a
}

// loadTable emulates LGDT and LIDT: the values are only remembered.
func (c *cpu) loadTable(inst x86asm.Inst, t *dtable) error {
	m, ok := inst.Args[0].(x86asm.Mem)
	if !ok {
		return errUnknown
	}
	b, err := c.mem.readable(inst.Op.String(), c.address(inst, m), 10)
	if err != nil {
		return err
	}
	t.limit = uint16(b[0]) | uint16(b[1])<<8
	t.base = load64(b, 2)
	return nil
}

// loadTR emulates LTR: the selector is only remembered.
func (c *cpu) loadTR(inst x86asm.Inst) error {
	v, err := c.read16(inst, inst.Args[0])
	c.tr = v
	return err
}

// read16 reads a 16-bit operand.
func (c *cpu) read16(inst x86asm.Inst, arg x86asm.Arg) (uint16, error) {
	switch a := arg.(type) {
	case x86asm.Reg:
		if r := c.register(a); r != nil {
			return uint16(*r), nil
		}
	case x86asm.Mem:
		b, err := c.mem.readable(inst.Op.String(), c.address(inst, a), 2)
		if err != nil {
			return 0, err
		}
		return uint16(b[0]) | uint16(b[1])<<8, nil
	}
	return 0, errUnknown
}

// moveSpecial emulates MOV to segment registers and from and to control
// registers. Writes that would change a control register are not known.
func (c *cpu) moveSpecial(inst *x86asm.Inst, raw []byte) error {
	dst, _ := inst.Args[0].(x86asm.Reg)
	src, _ := inst.Args[1].(x86asm.Reg)
	switch {
	case dst >= x86asm.ES && dst <= x86asm.GS:
		return nil // all segments are flat
	case src >= x86asm.CR0 && src <= x86asm.CR15:
		setControlLen(inst, raw)
		v, ok := c.control(src)
		r := c.register(dst)
		if !ok || r == nil {
			return errUnknown
		}
		*r = v
		return nil
	case dst >= x86asm.CR0 && dst <= x86asm.CR15:
		setControlLen(inst, raw)
		v, ok := c.control(dst)
		r := c.register(src)
		if !ok || r == nil || *r != v {
			return errUnknown
		}
		return nil
	case dst >= x86asm.DR0 && dst <= x86asm.DR15, src >= x86asm.DR0 && src <= x86asm.DR15:
		return errUnknown
	}
	return errOther
}

// setControlLen corrects the length of a MOV from or to a control register: its
// operand is a register whatever the mod field says, and the decoder counts the
// bytes that a memory operand would have. Prefixes are never 0x0f.
func setControlLen(inst *x86asm.Inst, raw []byte) { inst.Len = bytes.IndexByte(raw, 0x0f) + 3 }

// control returns the value of a control register that a guest may see.
func (c *cpu) control(reg x86asm.Reg) (uint64, bool) {
	switch reg {
	case x86asm.CR0:
		return cr0Init, true
	case x86asm.CR2:
		return c.cr2, true
	case x86asm.CR4:
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

// pop reads n words from the guest's stack, without removing them.
func (c *cpu) pop(what string, n int) ([]uint64, error) {
	b, err := c.mem.readable(what, c.rsp, uint64(8*n))
	if err != nil {
		return nil, err
	}
	v := make([]uint64, n)
	for i := range v {
		v[i] = load64(b, 8*i)
	}
	return v, nil
}

// farReturn emulates a 64-bit LRET. The code segment stays.
func (c *cpu) farReturn(inst x86asm.Inst) error {
	if inst.DataSize != 64 {
		return errUnknownFar
	}
	v, err := c.pop("far return", 2)
	if err != nil {
		return err
	}
	c.rip, c.rsp = v[0], c.rsp+16
	if n, ok := inst.Args[0].(x86asm.Imm); ok {
		c.rsp += uint64(n)
	}
	return c.checkRIP()
}

var errUnknownFar error = &stop{status: 1, reason: "the guest used a 32-bit far return, which is not emulated: --cpl=0 runs such guests"}

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
		return stopf("the guest returned to %#x, which is no address", c.rip)
	}
	return nil
}

// userFlags are flags that a guest asks for, with those that are not its to
// change as they must be.
func userFlags(f uint64) uint64 {
	const settable = 0xcd5 | flagTF | flagRF | flagAC | 1<<21
	return f&settable | flagFixed | flagIOPL3
}

// port is the port that a port instruction accesses.
func (c *cpu) port(inst x86asm.Inst) uint16 {
	for _, a := range inst.Args {
		if n, ok := a.(x86asm.Imm); ok {
			return uint16(uint8(n))
		}
	}
	return uint16(c.rdx)
}
