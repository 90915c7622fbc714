package core

import (
	"encoding/binary"

	"gocat/internal/x86"
)

// Notes of a core file (linux/elf.h).
const (
	ntPrstatus = 1
	ntFpregset = 2
	ntPrpsinfo = 3
	ntXstate   = 0x202
)

// Sizes in bytes of struct elf_prstatus and elf_prpsinfo (linux/elfcore.h).
const (
	prstatusSize = 336
	prpsinfoSize = 136
)

func (g *Guest) notes() []byte {
	b := appendNote(nil, "CORE", ntPrstatus, g.prstatus())
	b = appendNote(b, "CORE", ntPrpsinfo, g.prpsinfo())
	b = appendNote(b, "CORE", ntFpregset, g.Registers.Extended[:x86.LegacySize])
	return appendNote(b, "LINUX", ntXstate, g.xstate())
}

func appendNote(b []byte, name string, typ uint32, desc []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(len(name)+1))
	b = le.AppendUint32(b, uint32(len(desc)))
	b = le.AppendUint32(b, typ)
	b = append(append(b, name...), 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, desc...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (g *Guest) prstatus() []byte {
	b := make([]byte, prstatusSize)
	le := binary.LittleEndian
	le.PutUint32(b, uint32(g.Signal))
	le.PutUint16(b[12:], uint16(g.Signal))
	le.PutUint32(b[32:], uint32(g.PID))
	r, x := g.Registers, g.Registers.General
	// struct user_regs_struct (asm/user_64.h).
	for i, w := range []uint64{
		x[x86.R15], x[x86.R14], x[x86.R13], x[x86.R12], x[x86.RBP], x[x86.RBX], x[x86.R11], x[x86.R10],
		x[x86.R9], x[x86.R8], x[x86.RAX], x[x86.RCX], x[x86.RDX], x[x86.RSI], x[x86.RDI], ^uint64(0),
		r.RIP, uint64(r.CS), r.Flags, x[x86.RSP], uint64(r.SS), r.FSBase, r.GSBase,
		uint64(r.DS), uint64(r.ES), uint64(r.FS), uint64(r.GS),
	} {
		le.PutUint64(b[112+8*i:], w)
	}
	le.PutUint32(b[328:], 1) // the FPU's state follows
	return b
}

func (g *Guest) prpsinfo() []byte {
	b := make([]byte, prpsinfoSize)
	b[1] = 'R'
	binary.LittleEndian.PutUint32(b[24:], uint32(g.PID))
	copy(b[40:55], g.Name)
	copy(b[56:135], g.Name)
	return b
}

// xstate returns the XSAVE area, with XCR0 where the kernel puts it.
func (g *Guest) xstate() []byte {
	e := g.Registers.Extended
	states, size := uint64(x86.StateFPU|x86.StateSSE), x86.AVXOffset
	if g.AVX {
		states, size = states|x86.StateAVX, x86.ExtendedSize
	}
	binary.LittleEndian.PutUint64(e[464:], states)
	header := e[x86.LegacySize:]
	binary.LittleEndian.PutUint64(header, binary.LittleEndian.Uint64(header)&states)
	clear(header[8:64]) // the standard form
	return e[:size]
}
