// Package plan prepares lists of system calls for a process of one thread that
// has no program yet. A stub of machine code carries them out and then enters a
// guest or executes another program. The package writes the executable that holds
// plan and stub, and replaces the process by it.
package plan

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Plan composes what the stub reads at Base: a header, records, and after
// them the data that records point to. A record is ten little-endian words:
//
//	number, six arguments, mask, want, and two 32-bit halves
//
// The stub makes the call and compares result&mask with want. When they differ
// and the first half is the address of a message, it prints the message (the
// second half is its length), with the error if the call failed, and
// exits with the plan's Status; when the first half is 0, it skips as many records as the
// second half says.
type Plan struct {
	Status uint8 // exit status where a record fails; New has 1

	records []record
	data    []byte
	refs    []ref
	// pointers are pairs of offsets in data: of a word, and of the data whose
	// address it must hold.
	pointers [][2]uint64
}

const (
	planHeader = 48
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

// New returns an empty plan with room for most guests: growing costs more
// start-up time than anything else here.
func New() *Plan {
	p := raw.New[Plan]()
	p.Status = 1
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
	enter  = ^uint64(0) // enter the guest
	Around = ^uint64(1) // unmap [arg0, TaskEnd) except sealed pages about the vdso
	Last   = ^uint64(2) // no call: the result of the record before once more
	Copy   = ^uint64(3) // copy arg2 bytes from arg1 to arg0; the result is 0
	Differ = ^uint64(4) // no call: 1 if the words at arg0 and arg1 differ in a bit of arg2, else 0

	Processor = ^uint64(5) // no call: EBX of CPUID leaf arg0, sub-leaf arg1, and ECX above it
	States    = ^uint64(6) // no call: XCR0, where CPUID says OSXSAVE
	Earlier   = ^uint64(7) // no call: 1 if the struct timespec at arg0 is before that at arg1, else 0
	Close     = ^uint64(8) // close the descriptors from arg0 to arg1, one by one; the result is 0

	// Fill reads, into the memory at arg1, arg2 bytes, not 0, at offset arg3 of
	// descriptor arg0. The result is 1 where all of them were read, 0 where the file
	// ends before, and else an error.
	Fill = ^uint64(9)

	// execute is execve with what the stub kept of its environment.
	execute = ^uint64(10)

	// Given is no call: 1 if the process was given a variable whose setting begins with
	// the 8 bytes of arg0, of those that the stub keeps, else 0.
	Given = ^uint64(11)
)

// Masks of results.
const (
	Exact  = ^uint64(0)      // the result itself
	Failed = uint64(1) << 63 // its sign
)

// Errno is the result of a call that failed with e.
func Errno(e unix.Errno) uint64 { return -uint64(e) }

// Must adds a call that ends the run with message unless its result is want.
func (p *Plan) Must(message string, want uint64, nr uint64, args ...any) {
	p.add(record{nr: nr, mask: Exact, want: want, message: message}, args)
}

// MustHave is Must for some of the result's bits.
func (p *Plan) MustHave(message string, mask, want uint64, nr uint64, args ...any) {
	p.add(record{nr: nr, mask: mask, want: want, message: message}, args)
}

// Succeed adds a call that ends the run with message if it fails.
func (p *Plan) Succeed(message string, nr uint64, args ...any) {
	p.add(record{nr: nr, mask: Failed, message: message}, args)
}

// Try adds a call whose result does not matter.
func (p *Plan) Try(nr uint64, args ...any) { p.add(record{nr: nr}, args) }

// When adds a call, and the records that then adds only run if the call's
// result under mask is want.
func (p *Plan) When(mask, want uint64, then func(), nr uint64, args ...any) {
	at := p.Call(mask, want, nr, args...)
	then()
	p.Land(at, p.Here())
}

// Unless adds a call, and the records that then adds do not run if the call's
// result under mask is want.
func (p *Plan) Unless(mask, want uint64, then func(), nr uint64, args ...any) {
	var over int
	p.When(mask, want, func() { over = p.Jump() }, nr, args...)
	then()
	p.Land(over, p.Here())
}

// Call adds a call and returns its place, from which Land says where the plan goes
// on when its result under mask is not want.
func (p *Plan) Call(mask, want, nr uint64, args ...any) int {
	p.add(record{nr: nr, mask: mask, want: want}, args)
	return len(p.records) - 1
}

// Jump adds a jump and returns its place, from which Land says where it leads.
func (p *Plan) Jump() int { return p.Call(0, 1, Last) }

// Here is the place of the record that comes next.
func (p *Plan) Here() int { return len(p.records) }

// Land makes the record at from lead to the one at to, which is after it.
func (p *Plan) Land(from, to int) { p.records[from].skip = uint32(to - from - 1) }

// add appends r with its arguments: integers, []byte for the address of a copy of
// it, or a Ref for that of what it refers to.
func (p *Plan) add(r record, args []any) {
	for i, a := range args {
		switch a := a.(type) {
		case int:
			r.args[i] = uint64(a)
		case uint64:
			r.args[i] = a
		case []byte:
			p.refs = raw.Append(p.refs, ref{len(p.records), i, p.store(a)})
		case Ref:
			p.refs = raw.Append(p.refs, ref{len(p.records), i, uint64(a)})
		default:
			panic("plan: argument of an unknown type")
		}
	}
	p.records = raw.Append(p.records, r)
}

// store adds data and returns its offset in the data.
func (p *Plan) store(b []byte) uint64 {
	for len(p.data)%8 != 0 {
		p.data = raw.Append(p.data, 0)
	}
	at := uint64(len(p.data))
	p.data = raw.Append(p.data, b...)
	return at
}

// text adds text to the data.
func (p *Plan) text(parts ...string) {
	for _, s := range parts {
		p.data = raw.Append(p.data, raw.Bytes(s)...)
	}
}

// Words returns w as it lies in memory.
func Words(w ...uint64) []byte {
	b := raw.Slice[byte](0, 8*len(w))
	for _, w := range w {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// Filter adds the seccomp(2) call that installs filter.
func (p *Plan) Filter(message string, filter []unix.SockFilter) {
	code := raw.Slice[byte](0, 8*len(filter))
	for _, i := range filter {
		code = binary.LittleEndian.AppendUint16(code, i.Code)
		code = append(code, i.Jt, i.Jf)
		code = binary.LittleEndian.AppendUint32(code, i.K)
	}
	p.Must(message, 0, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, p.Program(len(filter), code))
}

// Program stores a struct sock_fprog of n instructions.
func (p *Plan) Program(n int, code []byte) Ref {
	at := p.store(Words(uint64(n), 0))
	p.pointer(at+8, p.store(code))
	return Ref(at)
}

// pointer makes the word of data at offset at the address of the data at offset to.
func (p *Plan) pointer(at, to uint64) { p.pointers = raw.Append(p.pointers, [2]uint64{at, to}) }

// Exec adds the call that ends a plan by executing the program at descriptor
// exe, with arguments and environment that Strings has stored.
func (p *Plan) Exec(message string, exe int, args, env []Ref) {
	p.refs = append(p.refs, ref{len(p.records), 2, p.list(args)}, ref{len(p.records), 3, p.list(env)})
	p.Must(message, 0, unix.SYS_EXECVEAT, exe, []byte{0}, 0, 0, unix.AT_EMPTY_PATH)
}

// ExecPath adds the call that executes the program of that path. Its environment is
// what the stub has kept: variables by which sockets are passed.
func (p *Plan) ExecPath(message, path string, args []Ref) {
	p.refs = append(p.refs, ref{len(p.records), 1, p.list(args)})
	p.Must(message, 0, execute, raw.CString(path), 0)
}

// Ref is a place in a plan's data.
type Ref uint64

// Store stores b, at a multiple of 8.
func (p *Plan) Store(b []byte) Ref { return Ref(p.store(b)) }

// Strings stores strings for Exec.
func (p *Plan) Strings(all []string) (refs []Ref) {
	for _, s := range all {
		refs = append(refs, Ref(p.store(raw.CString(s))))
	}
	return refs
}

// list stores a list of pointers to data, ending in a null pointer.
func (p *Plan) list(refs []Ref) uint64 {
	at := p.store(make([]byte, 8*(len(refs)+1)))
	for i, to := range refs {
		p.pointer(at+uint64(8*i), uint64(to))
	}
	return at
}
