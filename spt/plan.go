package spt

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// plan composes what the stub reads at planBase: a header, records, and after
// them the data that records point to. A record is ten little-endian words:
//
//	number, six arguments, mask, want, and two 32-bit halves
//
// The stub makes the call and compares result&mask with want. When they differ
// and the first half is the address of a message, it prints the message (the
// second half is its length), with the error number if the call failed, and
// exits with status 1; when the first half is 0, it skips as many records as the
// second half says.
type plan struct {
	records []record
	data    []byte
	refs    []ref
	// pointers are pairs of offsets in data: of a word, and of what its value is
	// to be the address of.
	pointers [][2]uint64
}

const (
	planHeader = 32
	recordSize = 80
)

// record is one step of a plan before its data has an address.
type record struct {
	nr         uint64
	args       [6]uint64
	mask, want uint64
	message    string // fatal if not ""
	skip       uint32
}

// newPlan returns an empty plan with room for most guests: growing costs more
// start-up time than anything else here.
func newPlan() *plan {
	p := raw.New[plan]()
	p.records, p.data, p.refs = raw.Slice[record](0, 160), raw.Slice[byte](0, 4096), raw.Slice[ref](0, 64)
	return p
}

// ref says that argument arg of a record is the address of plan data.
type ref struct {
	record, arg int
	offset      uint64
}

// Pseudo system call numbers that the stub knows.
const (
	nrEnd    = ^uint64(0) // enter the guest
	nrAround = ^uint64(1) // unmap [arg0, taskEnd) except sealed pages about the vdso
	nrLast   = ^uint64(2) // no call: the result of the record before once more
)

const (
	exact  = ^uint64(0)      // mask: the result itself
	failed = uint64(1) << 63 // mask: the result's sign
)

// errno is the result of a call that failed with e.
func errno(e unix.Errno) uint64 { return -uint64(e) }

// must adds a call that ends the run with message unless its result is want.
func (p *plan) must(message string, want uint64, nr uint64, args ...any) {
	p.add(record{nr: nr, mask: exact, want: want, message: message}, args)
}

// succeed adds a call that ends the run with message if it fails.
func (p *plan) succeed(message string, nr uint64, args ...any) {
	p.add(record{nr: nr, mask: failed, message: message}, args)
}

// try adds a call whose result does not matter.
func (p *plan) try(nr uint64, args ...any) { p.add(record{nr: nr}, args) }

// when adds a call, and the records that then adds only run if the call's
// result under mask is want.
func (p *plan) when(mask, want uint64, then func(), nr uint64, args ...any) {
	at := len(p.records)
	p.add(record{nr: nr, mask: mask, want: want}, args)
	then()
	p.records[at].skip = uint32(len(p.records) - at - 1)
}

// unless adds a call, and the records that then adds do not run if the call's
// result under mask is want.
func (p *plan) unless(mask, want uint64, then func(), nr uint64, args ...any) {
	at := len(p.records) + 1
	p.when(mask, want, func() {
		p.add(record{nr: unix.SYS_GETPID, mask: exact}, nil) // is not 0, so it skips
	}, nr, args...)
	then()
	p.records[at].skip = uint32(len(p.records) - at - 1)
}

// add appends r with its arguments: integers, or []byte for the address of a
// copy of it.
func (p *plan) add(r record, args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case int:
			r.args[i] = uint64(a)
		case uint64:
			r.args[i] = a
		case []byte:
			p.refs = raw.Append(p.refs, ref{len(p.records), i, p.store(a)})
		default:
			panic("plan: argument of an unknown type")
		}
	}
	p.records = raw.Append(p.records, r)
}

// store adds data and returns its offset in the data.
func (p *plan) store(b []byte) uint64 {
	for len(p.data)%8 != 0 {
		p.data = raw.Append(p.data, 0)
	}
	at := uint64(len(p.data))
	p.data = raw.Append(p.data, b...)
	return at
}

// text adds text to the data.
func (p *plan) text(parts ...string) {
	for _, s := range parts {
		p.data = raw.Append(p.data, readOnly(s)...)
	}
}

// words returns w as it lies in memory.
func words(w ...uint64) []byte {
	b := raw.Slice[byte](0, 8*len(w))
	for _, w := range w {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// program adds the seccomp(2) call that installs filter.
func (p *plan) program(message string, filter []unix.SockFilter) {
	code := raw.Slice[byte](0, 8*len(filter))
	for _, i := range filter {
		code = binary.LittleEndian.AppendUint16(code, i.Code)
		code = append(code, i.Jt, i.Jf)
		code = binary.LittleEndian.AppendUint32(code, i.K)
	}
	p.must(message, 0, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, make([]byte, 16))
	prog := p.refs[len(p.refs)-1].offset // struct sock_fprog
	binary.LittleEndian.PutUint16(p.data[prog:], uint16(len(filter)))
	p.pointer(prog+8, p.store(code))
}

// pointer makes the word of data at offset at the address of the data at offset to.
func (p *plan) pointer(at, to uint64) { p.pointers = raw.Append(p.pointers, [2]uint64{at, to}) }

// entry is the state in which the stub enters the guest.
type entry struct{ rip, rsp, rdi uint64 }

// link returns the plan as the stub reads it at planBase, head then data, ending
// in the entry of the guest. The command line is length bytes long and at guest address cmdline.
func (p *plan) link(e entry, cmdline, length uint64) (head, data []byte) {
	tooLong := raw.Concat("gocat: the guest's command line is longer than ", raw.Decimal(MaxArgs), " bytes\n")
	tooLongAt := p.store(words(uint64(len(tooLong))))
	p.text(tooLong)
	p.add(record{nr: nrEnd}, []any{e.rip, e.rsp, e.rdi, planBase, 0})
	base := uint64(planBase + planHeader + recordSize*len(p.records))
	for _, r := range p.refs {
		p.records[r.record].args[r.arg] = base + r.offset
	}
	for _, r := range p.pointers {
		binary.LittleEndian.PutUint64(p.data[r[0]:], base+r[1])
	}
	head = raw.Slice[byte](0, planHeader+recordSize*len(p.records))
	put := func(w ...uint64) {
		for _, w := range w {
			head = binary.LittleEndian.AppendUint64(head, w)
		}
	}
	put(cmdline+length, cmdline+MaxArgs, base+tooLongAt, min(length, 1))
	for i := range p.records {
		r := &p.records[i]
		outcome := uint64(r.skip) << 32
		if r.message != "" {
			outcome = base + uint64(len(p.data))
			p.text("gocat: ", r.message, ": error 000\n")
			outcome |= (base + uint64(len(p.data)) - outcome) << 32
		}
		put(r.nr)
		put(r.args[:]...)
		put(r.mask, r.want, outcome)
	}
	// Last, when the size is known: how many words the stub is to wipe.
	size := base + uint64(len(p.data)) - planBase
	end := len(head) - recordSize
	binary.LittleEndian.PutUint64(head[end+5*8:], (size+7)/8)
	return head, p.data
}
