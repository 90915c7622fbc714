package gdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"gocat/internal/x86"
)

// register is one as the debugger knows it: its name, size and type, and the
// bytes of it in Registers.
type register struct {
	name  string
	bytes int
	typ   string
	get   func(r *x86.Registers, b []byte)
	set   func(r *x86.Registers, b []byte)
}

// feature is a group of registers with a name that GDB gives it.
type feature struct {
	name      string
	registers []register
}

var le = binary.LittleEndian

// word is a register of 64 bits.
func word(name, typ string, at func(*x86.Registers) *uint64) register {
	return register{name, 8, typ,
		func(r *x86.Registers, b []byte) { le.PutUint64(b, *at(r)) },
		func(r *x86.Registers, b []byte) { *at(r) = le.Uint64(b) }}
}

func segment(name string, at func(*x86.Registers) *uint16) register {
	return register{name, 4, "int32",
		func(r *x86.Registers, b []byte) { le.PutUint32(b, uint32(*at(r))) },
		func(r *x86.Registers, b []byte) { *at(r) = uint16(le.Uint32(b)) }}
}

// extended is a register of n bytes in the XSAVE area, of the given state.
func extended(name string, n int, typ string, offset int, state uint64) register {
	return register{name, n, typ,
		func(r *x86.Registers, b []byte) { copy(b, r.Extended[offset:offset+n]) },
		func(r *x86.Registers, b []byte) { copy(r.Extended[offset:offset+n], b); r.Extended.Mark(state) }}
}

// control is a control register of the FPU: bits of the word at offset, of size
// bytes there and 4 for the debugger.
func control(name string, offset, size int) register {
	return register{name, 4, "int",
		func(r *x86.Registers, b []byte) { copy(b, r.Extended[offset:offset+size]); clear(b[size:]) },
		func(r *x86.Registers, b []byte) {
			copy(r.Extended[offset:offset+size], b)
			r.Extended.Mark(x86.StateFPU)
		}}
}

// features returns what the debugger is told of a guest's registers.
func features(avx bool) []feature {
	core := feature{name: "org.gnu.gdb.i386.core"}
	for i, name := range strings.Fields("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15") {
		typ := "int64"
		if i == x86.RBP || i == x86.RSP {
			typ = "data_ptr"
		}
		core.add(word(name, typ, func(r *x86.Registers) *uint64 { return &r.General[i] }))
	}
	core.add(word("rip", "code_ptr", func(r *x86.Registers) *uint64 { return &r.RIP }))
	core.add(register{"eflags", 4, "i386_eflags",
		func(r *x86.Registers, b []byte) { le.PutUint32(b, uint32(r.Flags)) },
		func(r *x86.Registers, b []byte) { r.Flags = uint64(le.Uint32(b)) }})
	core.add(segment("cs", func(r *x86.Registers) *uint16 { return &r.CS }),
		segment("ss", func(r *x86.Registers) *uint16 { return &r.SS }),
		segment("ds", func(r *x86.Registers) *uint16 { return &r.DS }),
		segment("es", func(r *x86.Registers) *uint16 { return &r.ES }),
		segment("fs", func(r *x86.Registers) *uint16 { return &r.FS }),
		segment("gs", func(r *x86.Registers) *uint16 { return &r.GS }))
	for i := range 8 {
		core.add(extended(fmt.Sprint("st", i), 10, "i387_ext", x86.STOffset+16*i, x86.StateFPU))
	}
	core.add(control("fctrl", 0, 2), control("fstat", 2, 2),
		register{"ftag", 4, "int", func(r *x86.Registers, b []byte) { le.PutUint32(b, uint32(tags(r))) }, setTags},
		control("fiseg", 12, 2), control("fioff", 8, 4), control("foseg", 20, 2), control("fooff", 16, 4), control("fop", 6, 2))
	sse := feature{name: "org.gnu.gdb.i386.sse"}
	for i := range 16 {
		sse.add(extended(fmt.Sprint("xmm", i), 16, "vec128", x86.XMMOffset+16*i, x86.StateSSE))
	}
	sse.add(extended("mxcsr", 4, "i386_mxcsr", x86.MXCSROffset, x86.StateSSE))
	segments := feature{name: "org.gnu.gdb.i386.segments"}
	segments.add(word("fs_base", "int", func(r *x86.Registers) *uint64 { return &r.FSBase }),
		word("gs_base", "int", func(r *x86.Registers) *uint64 { return &r.GSBase }))
	all := []feature{core, sse, segments}
	if avx {
		upper := feature{name: "org.gnu.gdb.i386.avx"}
		for i := range 16 {
			upper.add(extended(fmt.Sprintf("ymm%dh", i), 16, "uint128", x86.AVXOffset+16*i, x86.StateAVX))
		}
		all = append(all, upper)
	}
	return all
}

func (f *feature) add(r ...register) { f.registers = append(f.registers, r...) }

// Tags of the FPU's registers.
const (
	tagValid = iota
	tagZero
	tagSpecial
	tagEmpty
)

// tags returns the FPU's tag word. FXSAVE keeps only which registers are not
// empty; the rest follows from their contents.
func tags(r *x86.Registers) (all uint16) {
	top := int(le.Uint16(r.Extended[2:]) >> 11 & 7)
	for physical := range 8 {
		tag := uint16(tagEmpty)
		if r.Extended[4]>>physical&1 != 0 {
			st := r.Extended[x86.STOffset+16*((physical-top)&7):]
			mantissa, exponent := le.Uint64(st), le.Uint16(st[8:])&0x7fff
			switch {
			case exponent == 0 && mantissa == 0:
				tag = tagZero
			case exponent == 0 || exponent == 0x7fff || mantissa>>63 == 0:
				tag = tagSpecial
			default:
				tag = tagValid
			}
		}
		all |= tag << (2 * physical)
	}
	return all
}

func setTags(r *x86.Registers, b []byte) {
	all, used := le.Uint16(b), byte(0)
	for physical := range 8 {
		if all>>(2*physical)&3 != tagEmpty {
			used |= 1 << physical
		}
	}
	r.Extended[4] = used
	r.Extended.Mark(x86.StateFPU)
}

// layout is the registers in the debugger's order.
type layout struct {
	features  []feature
	registers []register
	size      int // of all, in bytes
}

func newLayout(avx bool) *layout {
	l := &layout{features: features(avx)}
	for _, f := range l.features {
		l.registers = append(l.registers, f.registers...)
	}
	for _, r := range l.registers {
		l.size += r.bytes
	}
	return l
}

// encode returns all registers one after the other.
func (l *layout) encode(r *x86.Registers) []byte {
	b := make([]byte, l.size)
	at := b
	for _, reg := range l.registers {
		reg.get(r, at[:reg.bytes])
		at = at[reg.bytes:]
	}
	return b
}

var errRegisters = errors.New("not a value of every register")

// decode changes r to what encode gave.
func (l *layout) decode(r *x86.Registers, b []byte) error {
	if len(b) != l.size {
		return errRegisters
	}
	for _, reg := range l.registers {
		reg.set(r, b[:reg.bytes])
		b = b[reg.bytes:]
	}
	return nil
}

// vec128 is the type of an SSE register, which GDB lets a target define.
const vec128 = `<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>` +
	`<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>` +
	`<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>` +
	`<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>` +
	`<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>` +
	`<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>`

// flags are the types of eflags and mxcsr.
const (
	eflags = `<flags id="i386_eflags" size="4"><field name="CF" start="0" end="0"/><field name="" start="1" end="1"/>` +
		`<field name="PF" start="2" end="2"/><field name="AF" start="4" end="4"/><field name="ZF" start="6" end="6"/>` +
		`<field name="SF" start="7" end="7"/><field name="TF" start="8" end="8"/><field name="IF" start="9" end="9"/>` +
		`<field name="DF" start="10" end="10"/><field name="OF" start="11" end="11"/><field name="NT" start="14" end="14"/>` +
		`<field name="RF" start="16" end="16"/><field name="VM" start="17" end="17"/><field name="AC" start="18" end="18"/>` +
		`<field name="VIF" start="19" end="19"/><field name="VIP" start="20" end="20"/><field name="ID" start="21" end="21"/></flags>`
	mxcsr = `<flags id="i386_mxcsr" size="4"><field name="IE" start="0" end="0"/><field name="DE" start="1" end="1"/>` +
		`<field name="ZE" start="2" end="2"/><field name="OE" start="3" end="3"/><field name="UE" start="4" end="4"/>` +
		`<field name="PE" start="5" end="5"/><field name="DAZ" start="6" end="6"/><field name="IM" start="7" end="7"/>` +
		`<field name="DM" start="8" end="8"/><field name="ZM" start="9" end="9"/><field name="OM" start="10" end="10"/>` +
		`<field name="UM" start="11" end="11"/><field name="PM" start="12" end="12"/><field name="FZ" start="15" end="15"/></flags>`
)

// xml returns the description of the registers that GDB reads (target.xml).
func (l *layout) xml() string {
	types := map[string]string{"org.gnu.gdb.i386.core": eflags, "org.gnu.gdb.i386.sse": vec128 + mxcsr}
	var s strings.Builder
	s.WriteString(`<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386:x86-64</architecture><osabi>none</osabi>`)
	n := 0
	for _, f := range l.features {
		fmt.Fprintf(&s, `<feature name="%s">%s`, f.name, types[f.name])
		for _, r := range f.registers {
			fmt.Fprintf(&s, `<reg name="%s" bitsize="%d" type="%s" regnum="%d"/>`, r.name, 8*r.bytes, r.typ, n)
			n++
		}
		s.WriteString("</feature>")
	}
	s.WriteString("</target>")
	return s.String()
}
