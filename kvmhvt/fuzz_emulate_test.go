package kvmhvt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// Where the fuzzed guest of FuzzEmulate has what an exception needs.
const (
	emulateCode = modelData + 0x100
	emulateGDT  = modelData + 0x1000
	emulateTSS  = modelData + 0x1100
	emulateTick = modelData + 0x200  // what the guest shares with its timer
	emulateIDT  = modelData + 0x2000 // gates, every third one with a stack of its own; the last three are not valid
)

// emulateTables writes tables into guest memory.
func emulateTables(b []byte) {
	store64(b, emulateGDT+24, 0x0000890000000067|emulateTSS&0xffffff<<16)
	for ist := 1; ist < 8; ist++ {
		store64(b, emulateTSS+36+8*(ist-1), uint64(modelData+0x8000+0x1000*ist))
	}
	for v := range vectorTimer + 1 {
		handler, ist := uint64(modelData+0x300+v), uint64(0)
		if v%3 == 0 {
			ist = uint64(v % 8)
		}
		store64(b, emulateIDT+16*v, handler&0xffff|8<<16|ist<<32|0x8e<<40|handler>>16<<48)
	}
	b[emulateIDT+16*29+5] = 0x0e          // not present
	b[emulateIDT+16*30+5] = 0x8c          // a call gate
	store32(b, emulateIDT+16*31+8, 1<<18) // not canonical
}

// cpuState is all that an emulated instruction may change, but memory.
type cpuState struct {
	rip, rflags uint64
	gpr         [16]uint64 // as instructions number them
	bases       [3]uint64  // fs, gs, kernel gs
	gdt, idt    dtable
	tr          uint16
}

func (c *cpu) state() cpuState {
	return cpuState{c.rip, c.rflags,
		[16]uint64{c.rax, c.rcx, c.rdx, c.rbx, c.rsp, c.rbp, c.rsi, c.rdi, c.r8, c.r9, c.r10, c.r11, c.r12, c.r13, c.r14, c.r15},
		[3]uint64{c.fsBase, c.gsBase, c.kernelGSBase}, c.gdt, c.idt, c.tr}
}

// differs lists what two states differ in, except rip.
func (s cpuState) differs(t cpuState) (what []string) {
	for i := range s.gpr {
		if s.gpr[i] != t.gpr[i] {
			what = append(what, []string{"rax", "rcx", "rdx", "rbx", "rsp"}[min(i, 4)])
			if i > 4 {
				what[len(what)-1] = "register"
			}
		}
	}
	for i := range s.bases {
		if s.bases[i] != t.bases[i] {
			what = append(what, "base")
		}
	}
	for name, same := range map[string]bool{"rflags": s.rflags == t.rflags, "gdt": s.gdt == t.gdt, "idt": s.idt == t.idt, "tr": s.tr == t.tr} {
		if !same {
			what = append(what, name)
		}
	}
	return what
}

// mayChange says by an instruction's opcode what emulating it may change, apart
// from rip, and how long it is, 0 for one that does not continue after it. What
// is nil for all that is not emulated.
func mayChange(code []byte) (what []string, length int) {
	for length < len(code) && (strings.IndexByte("\x66\x67\xf0\xf2\xf3\x2e\x36\x3e\x26\x64\x65", code[length]) >= 0 || code[length]&0xf0 == 0x40) {
		length++
	}
	code = append(bytes.Clone(code[length:]), 0, 0, 0, 0)
	extension := code[2] >> 3 & 7
	switch op := code[0]; {
	case op == 0xfa, op == 0xfb: // CLI, STI
		return []string{}, length + 1
	case op == 0x8e: // MOV to a segment register
		return []string{}, length + 1 + operand(code[1:])
	case op == 0xca, op == 0xcb: // far return
		return []string{"rsp"}, 0
	case op == 0xcf: // interrupt return
		return []string{"rsp", "rflags"}, 0
	case op != 0x0f:
		return nil, 0
	}
	length += 2
	switch op := code[1]; {
	case op == 0x06: // CLTS
		return []string{}, length
	case op == 0x22: // MOV to a control register
		return []string{}, length + 1
	case op == 0x01 && extension == 2:
		return []string{"gdt"}, length + operand(code[2:])
	case op == 0x01 && extension == 3:
		return []string{"idt"}, length + operand(code[2:])
	case op == 0x00 && extension == 3:
		return []string{"tr"}, length + operand(code[2:])
	case op == 0x30: // WRMSR
		return []string{"base"}, length
	case op == 0x32: // RDMSR
		return []string{"rax", "rdx"}, length
	case op == 0x20: // MOV from a control register
		return []string{"rax", "rcx", "rdx", "rbx", "rsp", "register"}, length + 1
	}
	return nil, 0
}

// operand is the length of a ModRM byte and what belongs to it.
func operand(code []byte) int {
	mod, rm := code[0]>>6, code[0]&7
	length := 1
	if mod != 3 && rm == 4 {
		length++
		if mod == 0 && code[1]&7 == 5 {
			return length + 4
		}
	}
	switch {
	case mod == 1:
		length++
	case mod == 2, mod == 0 && rm == 5:
		length += 4
	}
	return length
}

// FuzzEmulate has a guest fault on any instruction with any registers and
// tables. Either the guest ends, or the instruction did what one of its kind may
// do, or the guest's handler has the exception's frame.
func FuzzEmulate(f *testing.F) {
	for _, code := range []string{
		"\x0f\x01\x15\xf9\x0e\x00\x00", "\x0f\x01\x1c\x25\x00\x30\x10\x00", "\x0f\x00\xd8", "\x0f\x30", "\x0f\x32", "\x0f\x20\xd0", "\x41\x0f\x20\xe4",
		"\x0f\x22\xe0", "\x0f\x22\xd8", "\x8e\xd8", "\xfa", "\xfb", "\x0f\x06", "\x48\xcb", "\x48\xca\x08\x00", "\xcb", "\x48\xcf", "\xcf", "\xf4", "\xee", "\xe5\x60",
		"\x67\x64\x0f\x01\x14\x24", "\x66\x0f\x01\x14\x24", "\x0f\x01\xd1", "\x0f\x01\xf8", "\x0f\x09", "\x90", "\xcd\x80", "\x0f\x01",
		"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\xfa", "\xf0\xfa", "\x48\x8b\x00",
	} {
		f.Add([]byte(code), uint64(emulateCode), uint64(modelData+0x4000), uint64(modelEnd-0x1000), uint64(emulateIDT), uint16(0xfff), uint8(vectorGP))
	}
	for v := range uint8(vectorTimer + 1) {
		f.Add([]byte{0x90}, uint64(1)<<47-1, uint64(msrFSBase), uint64(modelData+0x5005), uint64(emulateIDT), uint16(0x20f), v)
		f.Add([]byte{0x90}, uint64(1)<<47-1, uint64(msrFSBase)|2, uint64(emulateTick+8), uint64(emulateIDT), uint16(0x20f), v)
	}
	f.Add([]byte{0xcc}, uint64(emulateCode), uint64(0), uint64(modelData-8), uint64(emulateIDT), uint16(0xfff), uint8(vectorPF))
	f.Add([]byte{0x0f, 0x30}, uint64(emulateCode), uint64(msrGSBase), uint64(1)<<50, uint64(0), uint16(0), uint8(vectorGP))
	f.Add([]byte{0x0f, 0x32}, uint64(emulateCode), uint64(msrEFER), uint64(1)<<50, uint64(0), uint16(0), uint8(vectorGP))
	f.Add([]byte{0xfa}, uint64(modelEnd-1), uint64(0), uint64(0), uint64(0), uint16(0), uint8(vectorGP))

	s := newServices(f)
	emulateTables(s.mem.b)
	if err := unix.Mprotect(s.mem.b[:modelData], unix.PROT_READ); err != nil {
		f.Fatal(err)
	}
	// Copies of the memory that the guest can write: as it is without the
	// fuzzer, and as it is before the exception.
	base := bytes.Clone(s.mem.b[modelData:modelEnd])
	before := bytes.Clone(base)
	f.Fuzz(func(t *testing.T, code []byte, rip, value, rsp, idt uint64, limit uint16, vector uint8) {
		defer func() {
			if t.Failed() {
				copy(s.mem.b[modelData:], base)
				copy(before, base)
			}
		}()
		vector %= vectorTimer + 1
		after := s.mem.b[modelData:modelEnd]
		const codeAt = emulateCode - modelData
		copy(after[codeAt:][:64], code)
		copy(before[codeAt:][:64], code)
		c := &cpu{mem: s.mem, regs: &regs{
			rax: value >> 8, rcx: value, rdx: value << 9, rbx: value + 8, rsi: ^value, rdi: value, rbp: rsp, rsp: rsp,
			r8: value, r9: 3 << 3, r12: 1, r15: rsp, rip: rip, rflags: value | flagIOPL3 | flagFixed,
		}, cr2: value}
		c.gdt, c.idt, c.tr = dtable{base: emulateGDT, limit: 39}, dtable{base: idt, limit: limit}, 3<<3
		if value&1 != 0 {
			c.tr, c.gdt = uint16(rsp), dtable{base: value, limit: limit}
		}
		if value&2 != 0 {
			c.timer = s.mem.b[emulateTick:][:image.TimerSize]
		}
		was := c.state()
		var err error
		if vector == vectorTimer {
			err = c.reflect(vectorTimer, 0)
		} else {
			err = c.exception(int(vector), value&0xffff)
		}
		now := c.state()

		var why *stop
		switch {
		case err != nil:
			if !errors.As(err, &why) || why.status != 1 || why.reason == "" || strings.ContainsAny(why.reason, "\n\x00") {
				t.Fatalf("error %q", err)
			}
			if !bytes.Equal(before, after) {
				t.Fatal("the guest ended, and memory changed")
			}
		case vector == vectorGP && !emulatedAmiss(was, now, before, after):
		default:
			at, size := checkDelivered(t, c, was, int(vector), value&0xffff, before, after)
			for _, b := range [][]byte{after, before} {
				copy(b[at:][:size], base[at:])
				copy(b[emulateTick-modelData:][:4], base[emulateTick-modelData:])
			}
		}
		copy(after[codeAt:][:64], base[codeAt:])
		copy(before[codeAt:][:64], base[codeAt:])
	})
}

// emulatedAmiss says whether an exception was not that of an instruction that
// was emulated as one of its kind may be.
func emulatedAmiss(was, now cpuState, before, after []byte) bool {
	if was.rip < modelData || was.rip >= modelEnd {
		return true
	}
	code := before[was.rip-modelData:]
	allowed, length := mayChange(code[:min(len(code), maxInstruction)])
	if allowed == nil || !bytes.Equal(before, after) {
		return true
	}
	changed := was.differs(now)
	for _, what := range changed {
		if !slices.Contains(allowed, what) {
			return true
		}
	}
	for _, b := range now.bases {
		if int64(b)>>47 != 0 && int64(b)>>47 != -1 {
			return true
		}
	}
	if length > 0 {
		oneThing := len(changed) <= 1 || slices.Equal(changed, []string{"rax", "rdx"})
		return now.rip-was.rip != uint64(length) || !oneThing
	}
	// A return takes everything off the stack, and leaves what is the tender's.
	sp := was.gpr[4]
	word := func(i uint64) uint64 { return binary.LittleEndian.Uint64(before[sp-modelData+8*i:]) }
	if sp < modelData || sp > modelEnd-16 || now.rip != word(0) || int64(now.rip)>>47 != 0 && int64(now.rip)>>47 != -1 {
		return true
	}
	if len(allowed) == 1 {
		return now.gpr[4]-sp < 16 || now.gpr[4]-sp > 16+1<<16
	}
	const system = flagFixed | flagIOPL3 | 1<<3 | 1<<5 | flagIF | flagNT | 1<<15 | 1<<17 | 1<<19 | 1<<20 | ^uint64(1<<22-1)
	return sp > modelEnd-40 || now.gpr[4] != word(3) || now.rflags&system != flagFixed|flagIOPL3 || (now.rflags^word(2))&^uint64(system) != 0
}

// checkDelivered fails t unless an exception was delivered to the guest's own
// handler, as the processor does it. It adds the frame to before, and returns
// where in it.
func checkDelivered(t *testing.T, c *cpu, was cpuState, vector int, code uint64, before, after []byte) (at, size uint64) {
	t.Helper()
	now := c.state()
	le := binary.LittleEndian
	// Tables and stack may be in what the guest can only read.
	read := func(addr uint64, n int) []byte {
		if addr >= modelData {
			return before[addr-modelData:][:n]
		}
		return c.mem.b[addr:][:n]
	}
	gate := read(was.idt.base+16*uint64(vector), 16)
	handler := uint64(le.Uint16(gate)) | uint64(le.Uint16(gate[6:]))<<16 | uint64(le.Uint32(gate[8:]))<<32
	if vector*16+15 > int(was.idt.limit) || gate[5]&0x8e != 0x8e || int64(handler)>>47 != 0 && int64(handler)>>47 != -1 {
		t.Fatal("a handler that the guest does not have")
	}
	top := was.gpr[4]
	if ist := gate[4] & 7; ist != 0 {
		d := read(was.gdt.base+uint64(was.tr&^7), 16)
		tss := uint64(d[2]) | uint64(d[3])<<8 | uint64(d[4])<<16 | uint64(d[7])<<24 | uint64(le.Uint32(d[8:]))<<32
		top = le.Uint64(read(tss+36+8*uint64(ist-1), 8))
	}
	frame := []uint64{was.rip, 8, was.rflags &^ flagIOPL3, was.gpr[4], 16}
	if slices.Contains([]int{8, 10, 11, 12, 13, 14, 17, 21, 29, 30}, vector) {
		if vector == vectorPF {
			code &^= faultPresent // no fault of a present page is delivered
		}
		frame = append([]uint64{code}, frame...)
	}
	size = uint64(8 * len(frame))
	stack := top&^15 - size
	at = stack - modelData
	for i, v := range frame {
		le.PutUint64(before[at+uint64(8*i):], v)
	}
	if c.timer != nil { // it may not interrupt the handler
		le.PutUint32(before[emulateTick-modelData:], 1)
	}
	if now.rip != handler || now.gpr[4] != stack || !bytes.Equal(before, after) {
		t.Fatalf("%d at %#x with stack %#x, want %#x and %#x, or the frame is wrong", vector, now.rip, now.gpr[4], handler, stack)
	}
	for _, what := range was.differs(now) {
		if what != "rsp" && what != "rflags" {
			t.Fatalf("%s changed", what)
		}
	}
	if now.rflags&(flagTF|flagNT|flagIF|flagRF|flagAC) != 0 || now.rflags&(flagFixed|flagIOPL3) != flagFixed|flagIOPL3 {
		t.Fatalf("flags %#x", now.rflags)
	}
	return at, size
}
