package kvmhvt

// instruction is one of those that a guest at privilege level 3 may fault on
// because it believes to be at level 0, or of those that look like them.
type instruction struct {
	op      op
	size    int   // bytes
	wide    bool  // REX.W: the operand has 64 bits
	addr32  bool  // addresses have 32 bits
	segment uint8 // the prefix of FS or GS, or 0
	reg, rm uint8 // of ModRM, with the bits of REX
	memory  bool  // the operand is in memory, and then:
	base    int8  // number of a general register, noRegister or ripRegister
	index   int8  // likewise
	scale   uint8 // a shift
	disp    int64
	imm     uint16
}

const (
	noRegister  = -1
	ripRegister = -2
)

// op is what an instruction does.
type op uint8

const (
	opOther   op = iota // nothing that level 0 is needed for
	opUnknown           // of the system instructions, but none that is known
	opCLI
	opSTI
	opCLTS
	opHLT
	opLGDT
	opLIDT
	opLTR
	opWRMSR
	opRDMSR
	opMoveSegment     // MOV to a segment register
	opReadControl     // MOV from a control register
	opWriteControl    // MOV to a control register
	opDebug           // MOV from or to a debug register
	opFarReturn       // RET FAR
	opInterruptReturn // IRET in all sizes
	opPort            // IN, OUT, INS and OUTS
	opPortImmediate   // IN and OUT with the port in imm

	// Known, and not emulated.
	opLLDT
	opLMSW
	opINVLPG
	opINVPCID
	opINVD
	opWBINVD
	opSWAPGS
	opSYSRET
	opSYSEXIT
	opXSETBV
	opRDPMC
	opMONITOR
	opMWAIT
	opXRSTORS
)

// opNames are mnemonics (Intel SDM vol. 2).
var opNames = [...]string{
	opUnknown: "unknown", opCLI: "CLI", opSTI: "STI", opCLTS: "CLTS", opHLT: "HLT", opLGDT: "LGDT", opLIDT: "LIDT",
	opLTR: "LTR", opWRMSR: "WRMSR", opRDMSR: "RDMSR", opMoveSegment: "MOV to a segment register",
	opDebug:     "MOV from or to a debug register",
	opFarReturn: "RET FAR", opInterruptReturn: "IRET", opPort: "IN or OUT", opPortImmediate: "IN or OUT",
	opLLDT: "LLDT", opLMSW: "LMSW", opINVLPG: "INVLPG", opINVPCID: "INVPCID", opINVD: "INVD", opWBINVD: "WBINVD",
	opSWAPGS: "SWAPGS", opSYSRET: "SYSRET", opSYSEXIT: "SYSEXIT", opXSETBV: "XSETBV", opRDPMC: "RDPMC",
	opMONITOR: "MONITOR", opMWAIT: "MWAIT", opXRSTORS: "XRSTORS",
}

// decode reads the instruction at the start of code, in 64-bit mode. Op is
// opOther for one that is cut short or too long, for those that level 0 has
// nothing to do with, and for undefined ones.
func decode(code []byte) (in instruction) {
	d := decoder{code: code[:min(len(code), maxInstruction)]}
	d.prefixes()
	op := d.opcode()
	if d.short || op == opOther {
		return instruction{}
	}
	d.in.op, d.in.size = op, d.at
	return d.in
}

// decoder reads code from at on.
type decoder struct {
	code  []byte
	at    int
	short bool // code ended too early
	rex   byte
	op16  bool // operand size prefix
	plain bool // no prefix at all
	in    instruction
}

func (d *decoder) next() byte {
	if d.at >= len(d.code) {
		d.short = true
		return 0
	}
	d.at++
	return d.code[d.at-1]
}

// prefixes reads the prefixes, of which a REX counts only as the last.
func (d *decoder) prefixes() {
	for {
		b := d.next()
		switch b {
		case 0x66:
			d.op16 = true
		case 0x67:
			d.in.addr32 = true
		case 0x64, 0x65:
			d.in.segment = b
		case 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26:
		default:
			if b&0xf0 == 0x40 && !d.short {
				d.rex = b
				continue
			}
			d.plain = d.at == 1
			if !d.short {
				d.at--
			}
			d.in.wide = d.rex&8 != 0
			return
		}
		d.rex = 0
	}
}

// opcode reads the rest of an instruction.
func (d *decoder) opcode() op {
	switch b := d.next(); b {
	case 0x0f:
		return d.twoBytes()
	case 0xfa:
		return opCLI
	case 0xfb:
		return opSTI
	case 0xf4:
		return opHLT
	case 0x8e:
		d.operand()
		return opMoveSegment
	case 0xca:
		d.in.imm = uint16(d.next()) | uint16(d.next())<<8
		return opFarReturn
	case 0xcb:
		return opFarReturn
	case 0xcf:
		return opInterruptReturn
	case 0xe4, 0xe5, 0xe6, 0xe7:
		d.in.imm = uint16(d.next())
		return opPortImmediate
	case 0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f:
		return opPort
	}
	return opOther
}

// twoBytes reads what follows 0x0f.
func (d *decoder) twoBytes() op {
	switch d.next() {
	case 0x00:
		switch d.operand() {
		case 2:
			return opLLDT
		case 3:
			return opLTR
		}
	case 0x01:
		return d.system()
	case 0x06:
		return opCLTS
	case 0x07:
		return opSYSRET
	case 0x08:
		return opINVD
	case 0x09:
		return opWBINVD
	case 0x20:
		return d.special(opReadControl)
	case 0x22:
		return d.special(opWriteControl)
	case 0x21, 0x23:
		return d.special(opDebug)
	case 0x30:
		return opWRMSR
	case 0x32:
		return opRDMSR
	case 0x33:
		return opRDPMC
	case 0x35:
		return opSYSEXIT
	case 0x38:
		if d.next() == 0x82 && d.op16 {
			d.operand()
			return opINVPCID
		}
	case 0xc7:
		if d.operand() == 3 && d.in.memory {
			return opXRSTORS
		}
	}
	return opOther
}

// system reads what follows 0x0f 0x01.
func (d *decoder) system() op {
	extension := d.operand()
	if d.in.memory {
		switch extension {
		case 2:
			return opLGDT
		case 3:
			return opLIDT
		case 6:
			return opLMSW
		case 7:
			return opINVLPG
		}
	} else {
		switch modrm := d.code[max(d.at, 1)-1]; {
		case modrm == 0xc8:
			return opMONITOR
		case modrm == 0xc9:
			return opMWAIT
		case modrm == 0xd1:
			return opXSETBV
		case modrm == 0xf8:
			return opSWAPGS
		case modrm == 0xd0, modrm == 0xd5, modrm == 0xd6, modrm == 0xf9: // XGETBV, XEND, XTEST, RDTSCP
			return opOther
		case extension == 6:
			return opLMSW
		}
	}
	if extension == 0 && d.in.memory || extension == 1 && d.in.memory || extension == 4 || !d.plain { // SGDT, SIDT, SMSW
		return opOther
	}
	return opUnknown
}

// special reads the operands of a MOV from or to a control or debug register:
// both are registers, whatever the field mod says.
func (d *decoder) special(op op) op {
	b := d.next()
	d.in.reg, d.in.rm = b>>3&7|d.rex&4<<1, b&7|d.rex&1<<3
	return op
}

// operand reads ModRM with what belongs to it, and returns its field reg without
// REX.
func (d *decoder) operand() (extension byte) {
	b := d.next()
	mod, rm := b>>6, b&7
	d.in.reg, d.in.rm = b>>3&7|d.rex&4<<1, rm|d.rex&1<<3
	if mod == 3 {
		return b >> 3 & 7
	}
	d.in.memory, d.in.base, d.in.index = true, int8(d.in.rm), noRegister
	if rm == 4 {
		sib := d.next()
		rm = sib & 7
		d.in.base = int8(rm | d.rex&1<<3)
		if index := sib>>3&7 | d.rex&2<<2; index != 4 {
			d.in.index, d.in.scale = int8(index), sib>>6
		}
		if rm == 5 && mod == 0 {
			d.in.base = noRegister
		}
	} else if rm == 5 && mod == 0 {
		d.in.base = ripRegister
	}
	switch {
	case mod == 1:
		d.in.disp = int64(int8(d.next()))
	case mod == 2, mod == 0 && rm == 5:
		d.in.disp = int64(int32(uint32(d.next()) | uint32(d.next())<<8 | uint32(d.next())<<16 | uint32(d.next())<<24))
	}
	return b >> 3 & 7
}
