package gdb

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Kinds of breakpoints in packets Z and z.
const (
	software = iota
	hardware
	writeWatch
	readWatch
	accessWatch
)

// int3 is the breakpoint instruction.
const int3 = 0xcc

// maxSoftware bounds the breakpoints in code.
const maxSoftware = 4096

// points are the breakpoints and watchpoints of a session. A software breakpoint
// is in the guest's code; the debugger sees the code without it.
type points struct {
	target Target
	code   map[uint64]byte // the bytes that breakpoints replace
	debug  DebugRegisters
	steps  []stepPoint // what the target's debug registers cannot look for
	byStep bool        // breakpoints too: the target's instruction does not stop it
	hit    string      // what a stop reply says of the one that was found
}

// stepPoint is a hardware breakpoint or a watchpoint for writes that is looked for
// after each instruction.
type stepPoint struct {
	kind, addr uint64
	old        []byte // what was at addr
}

func newPoints(t Target) *points {
	p := &points{target: t, code: map[uint64]byte{}}
	if t, ok := t.(StepTarget); ok {
		p.byStep = t.BreakpointsByStep()
	}
	return p
}

var errTooMany = fmt.Errorf("more than %d breakpoints", maxSoftware)

// change inserts or removes one. Doing either twice is no error.
func (p *points) change(insert bool, kind, addr, size uint64) error {
	if kind == software {
		if p.byStep {
			return p.changeStep(insert, kind, addr, 1)
		}
		return p.changeCode(insert, addr)
	}
	condition := uint64(onExecute)
	switch kind {
	case hardware:
		size = 1
	case writeWatch:
		condition = onWrite
	case accessWatch:
		condition = onAccess
	default: // the processor cannot watch reads alone
		return errors.ErrUnsupported
	}
	next := p.debug
	next.unset(condition, addr, size)
	if insert {
		if err := next.set(condition, addr, size); err != nil {
			return err
		}
	}
	err := p.target.SetDebug(next)
	if errors.Is(err, errors.ErrUnsupported) && condition != onAccess {
		return p.changeStep(insert, kind, addr, size)
	}
	if err == nil {
		p.debug = next
	}
	return err
}

// maxSteps bounds the points that are looked for by steps.
const maxSteps = 16

func (p *points) changeStep(insert bool, kind, addr, size uint64) error {
	p.steps = slices.DeleteFunc(p.steps, func(s stepPoint) bool {
		return s.kind == kind && s.addr == addr && uint64(len(s.old)) == size
	})
	if !insert {
		return nil
	}
	if len(p.steps) >= maxSteps {
		return errNoRegister
	}
	s := stepPoint{kind, addr, make([]byte, size)}
	if p.target.ReadMemory(addr, s.old) != len(s.old) {
		return errors.New("no memory there")
	}
	p.steps = append(p.steps, s)
	return nil
}

// stepped looks for points after an instruction.
func (p *points) stepped() (found bool, err error) {
	p.hit = ""
	r, err := p.target.Registers()
	if err != nil {
		return false, err
	}
	for i := range p.steps {
		s := &p.steps[i]
		if s.kind != writeWatch {
			if r.RIP == s.addr {
				p.hit = map[uint64]string{software: "swbreak:;", hardware: "hwbreak:;"}[s.kind]
			}
			continue
		}
		b := make([]byte, len(s.old))
		if p.target.ReadMemory(s.addr, b) == len(b) && !bytes.Equal(b, s.old) {
			s.old, p.hit = b, fmt.Sprintf("watch:%x;", s.addr)
		}
	}
	return p.hit != "", nil
}

func (p *points) changeCode(insert bool, addr uint64) error {
	old, there := p.code[addr]
	if insert == there {
		return nil
	}
	if !insert {
		if err := p.target.WriteMemory(addr, []byte{old}); err != nil {
			return err
		}
		delete(p.code, addr)
		return nil
	}
	if len(p.code) >= maxSoftware {
		return errTooMany
	}
	var b [1]byte
	if p.target.ReadMemory(addr, b[:]) != 1 {
		return errors.New("no code there")
	}
	if err := p.target.WriteMemory(addr, []byte{int3}); err != nil {
		return err
	}
	p.code[addr] = b[0]
	return nil
}

// at reports whether a software breakpoint is at addr.
func (p *points) at(addr uint64) bool { _, there := p.code[addr]; return there }

// read reads memory as it is without breakpoints.
func (p *points) read(addr uint64, b []byte) int {
	n := p.target.ReadMemory(addr, b)
	for at, old := range p.code {
		if i := at - addr; i < uint64(n) {
			b[i] = old
		}
	}
	return n
}

// write writes memory and leaves breakpoints in it.
func (p *points) write(addr uint64, b []byte) error {
	own := make([]byte, len(b))
	copy(own, b)
	for at := range p.code {
		if i := at - addr; i < uint64(len(b)) {
			own[i] = int3
		}
	}
	if err := p.target.WriteMemory(addr, own); err != nil {
		return err
	}
	for at := range p.code {
		if i := at - addr; i < uint64(len(b)) {
			p.code[at] = b[i]
		}
	}
	return nil
}

// matched says in a stop reply which debug register matched, by DR6.
func (p *points) matched(status uint64) string {
	if p.hit != "" {
		return p.hit
	}
	for n := range p.debug.Addr {
		if status>>n&1 == 0 || !p.debug.used(n) {
			continue
		}
		switch p.debug.condition(n) {
		case onExecute:
			return "hwbreak:;"
		case onWrite:
			return fmt.Sprintf("watch:%x;", p.debug.Addr[n])
		case onAccess:
			return fmt.Sprintf("awatch:%x;", p.debug.Addr[n])
		}
	}
	return ""
}

// clear removes all of them from a stopped guest.
func (p *points) clear() {
	for addr := range p.code {
		p.changeCode(false, addr)
	}
	p.steps = nil
	if p.debug != (DebugRegisters{}) {
		p.debug = DebugRegisters{}
		p.target.SetDebug(p.debug)
	}
}
