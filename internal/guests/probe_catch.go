package guests

import (
	"encoding/binary"
)

// Fault is the result of a step that raised the exception vector, in a probe
// that catches them.
func Fault(vector uint64) Value { return Value{N: 0xfa17<<48 | vector} }

// exceptions is how many vectors a probe catches: all of the processor's own.
const exceptions = 32

// kernelCode is the selector of the code segment that tenders start an hvt guest
// with (Solo5 hvt_cpu_x86_64.h).
const kernelCode = 8

// Catch adds the steps that make exceptions results: from here on a step that
// raises one has the result Fault(vector), and the probe goes on. Only hvt guests
// have handlers, and only of what the tender delivers to them. A tender at
// privilege level 3 does so through the guest's own table, whose address is
// returned, as that of 10 bytes for LIDT.
func (p *Probe) Catch() (table uint64) {
	le := binary.LittleEndian
	handler := p.a.routine(probeFaultRoutine)
	const size = 32 // of the code of one vector
	var code []byte
	for v := range uint64(exceptions) {
		code = le.AppendUint64(append(code, 0x48, 0xb8), Fault(v).N) // mov rax, Fault(v)
		code = le.AppendUint64(append(code, 0x49, 0xbb), handler)    // mov r11, handler
		code = append(code, 0x41, 0xff, 0xe3)                        // jmp r11
		for len(code)%size != 0 {
			code = append(code, 0xcc)
		}
	}
	at := p.Code(code)
	var idt []byte
	for v := range uint64(exceptions) {
		idt = append(idt, Gate(at+v*size, kernelCode, 0)...)
	}
	table = p.Data(binary.LittleEndian.AppendUint64(le.AppendUint16(nil, uint16(len(idt)-1)), p.Data(idt)))
	p.Do(p.LoadIDT(table))
	return table
}

// Gate is a 64-bit interrupt gate (Intel SDM vol. 3, 7.14.1) for a handler in the
// code segment of a selector, on stack ist of the task state, or on the current
// one when that is 0.
func Gate(handler, selector, ist uint64) []byte {
	const present = 0x8e << 40
	low := handler&0xffff | selector<<16 | ist<<32 | present | handler>>16&0xffff<<48
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, low), handler>>32)
}

// LoadIDT makes the interrupt descriptor table the one that the 10 bytes at
// address say (LIDT).
func (p *Probe) LoadIDT(address uint64) Step {
	s := p.Execute(N(p.Code([]byte{0x0f, 0x01, 0x1f, 0xc3}))) // lidt [rdi]; ret
	s.DI = N(address)
	return s
}

// Ring is the 8 bytes at an offset in the tender's boot info that say where the
// network ring is, 0 when there is none (Solo5 hvt_abi.h, since 0.11).
func Ring() Value { return Boot(48) }

// DeviceFD adds steps after which the returned value is the descriptor of the
// device with a handle, in an spt guest. It must be less than 256.
func (p *Probe) DeviceFD(handle uint64) Value {
	const entries, entrySize, hostFD = 8, 104, 88 // of struct mft and its entries
	address, fd := p.Var(), p.Var()
	load := p.Move(Boot(sptManifest).Plus(entries + handle*entrySize + hostFD))
	load.Save = address
	p.Do(load)
	load = p.Load8(At(address))
	load.Save = fd
	p.Do(load)
	return At(fd)
}

// Offsets in struct spt_boot_info.
const (
	sptManifest = 24
	sptEpoll    = 32
	sptTimer    = 36
)

// EpollFD is the descriptor that an spt guest waits with.
func EpollFD() Value { return Boot32(sptEpoll) }

// TimerFD is the descriptor of an spt guest's timer.
func TimerFD() Value { return Boot32(sptTimer) }
