package guests

// step is a call of one of the probe's own routines.
func (p *Probe) step(routine uintptr) Step { return Step{Code: N(p.a.routine(routine))} }

// Syscall is a system call by the SYSCALL instruction. Of nr all 64 bits count.
func (p *Probe) Syscall(nr uint64, args ...Value) Step {
	s := p.step(probeSyscallRoutine)
	s.AX = N(nr)
	s.args(args)
	return s
}

// Int80 is a system call of the 32-bit ABI, by INT 0x80. Its result is
// sign-extended.
func (p *Probe) Int80(nr uint64, args ...Value) Step {
	s := p.step(probeInt80Routine)
	s.AX = N(nr)
	s.args(args)
	return s
}

// Load8 loads the byte at address.
func (p *Probe) Load8(address Value) Step {
	s := p.step(probeLoad8Routine)
	s.DI = address
	return s
}

// Load64 loads the 8 bytes at address.
func (p *Probe) Load64(address Value) Step {
	s := p.step(probeLoad64Routine)
	s.DI = address
	return s
}

// Store8 stores a byte at address.
func (p *Probe) Store8(address, b Value) Step {
	s := p.step(probeStore8Routine)
	s.DI, s.SI = address, b
	return s
}

// Store64 stores 8 bytes at address.
func (p *Probe) Store64(address, v Value) Step {
	s := p.step(probeStore64Routine)
	s.DI, s.SI = address, v
	return s
}

// Execute calls the code at address.
func (p *Probe) Execute(address Value) Step { return Step{Code: address} }

// Move has v for its result.
func (p *Probe) Move(v Value) Step {
	s := p.step(probeMoveRoutine)
	s.AX = v
	return s
}

// Out8 writes the byte v to an I/O port.
func (p *Probe) Out8(port, v Value) Step { return p.port(probeOut8Routine, port, v) }

// Out16 writes the 2 bytes v to an I/O port.
func (p *Probe) Out16(port, v Value) Step { return p.port(probeOut16Routine, port, v) }

// Out32 writes the 4 bytes v to an I/O port.
func (p *Probe) Out32(port, v Value) Step { return p.port(probeOut32Routine, port, v) }

// In32 reads 4 bytes from an I/O port.
func (p *Probe) In32(port Value) Step { return p.port(probeIn32Routine, port, Value{}) }

func (p *Probe) port(routine uintptr, port, v Value) Step {
	s := p.step(routine)
	s.DI, s.SI = port, v
	return s
}

// Hypercall adds the steps of hvt hypercall nr with an argument struct at
// address, of which the given values are the first words of 8 bytes.
func (p *Probe) Hypercall(nr, address uint64, words ...Value) {
	for i, w := range words {
		p.Do(p.Store64(N(address+8*uint64(i)), w))
	}
	p.Do(p.Out32(N(hvtPort+nr), N(address)))
}

// Puts writes text on the console, all of it.
func (p *Probe) Puts(text string) Step {
	return Step{
		Code: N(p.a.link.write),
		SI:   N(p.Data([]byte(text))),
		DX:   N(uint64(len(text))),
	}
}

// Exit exits with status v.
func (p *Probe) Exit(v Value) Step { return Step{Code: N(p.a.link.exit), DI: v} }

// Equals makes it a failure, and the guest exit with status, when the result of
// s is not v.
func (s Step) Equals(v Value, status uint64) Step {
	s.Check, s.Want, s.Status = Equal, v, status
	return s
}

// Differs makes it a failure, and the guest exit with status, when the result of
// s is v.
func (s Step) Differs(v Value, status uint64) Step {
	s.Check, s.Want, s.Status = NotEqual, v, status
	return s
}

// Sweep adds the steps that body returns once for each address from from, by
// stride, as long as it is below to. Body is called once, with the address that
// changes.
func (p *Probe) Sweep(from, to, stride uint64, body func(address Value) []Step) {
	if from >= to || stride == 0 {
		return
	}
	v := p.Var()
	p.Do(Step{Code: N(p.a.routine(probeMoveRoutine)), AX: N(from), Save: v})
	first := uint64(len(p.steps))
	p.Do(body(At(v))...)
	advance := p.Move(At(v).Plus(stride))
	advance.Save = v
	advance = advance.Equals(N(from+(to-from+stride-1)/stride*stride), 0)
	advance.elseStep = first + 1
	p.Do(advance)
}

func (s *Step) args(v []Value) {
	regs := [...]*Value{&s.DI, &s.SI, &s.DX, &s.R10, &s.R8, &s.R9}
	for i, a := range v {
		*regs[i] = a
	}
}
