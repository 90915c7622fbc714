package spt

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/plan"
)

// leap is a guest that jumps anywhere in gocat's own page with any registers.
type leap struct {
	at     uint64     // offset in the page
	owned  bool       // the guest has a handler of its faults
	inside bool       // it jumps from there, on the signal stack
	flags  uint64     // RFLAGS
	regs   [16]uint64 // as instructions number them
}

// Flags that a process sets itself.
const (
	flagTrap      = 0x100
	flagDirection = 0x400
	flagNested    = 0x4000
	flagResume    = 0x10000
	flagAlign     = 0x40000
	anyFlags      = 0x250dd5
)

// guest returns the guest. It fills the reporter's buffer with 'G', and a stack
// with addresses of code that says that it is alive; so does a guest's handler.
func (l leap) guest(t testing.TB) *unikernel {
	const frame, stack = guests.Scratch + 0x100, guests.Scratch + 0x1000
	store := func(at, v uint64) []byte { // movabs [at], rax
		return binary.LittleEndian.AppendUint64(append(mov(rax, v), 0x48, 0xa3), at)
	}
	u := probe(t, func(p *guests.Probe) {
		back := p.Code(survive(p))
		jump := slices.Concat([]byte{0xfc}, // cld
			mov(rdi, lineBase), mov(rcx, lineSize), []byte{0xb0, 'G', 0xf3, 0xaa}, // mov al, 'G'; rep stosb
			mov(rdi, stack), mov(rcx, 64), mov(rax, back), []byte{0xf3, 0x48, 0xab}, // rep stosq
			store(frame, stubBase+l.at), store(frame+8, 0x33), store(frame+16, l.flags&anyFlags|0x202),
			store(frame+24, l.regs[rsp]), store(frame+32, 0x2b))
		for r, v := range l.regs {
			if r == rsp {
				v = frame
			}
			jump = append(jump, mov(byte(r), v)...)
		}
		start := p.Code(append(jump, 0x48, 0xcf)) // iretq: it takes the flags after the first instruction
		switch {
		case l.inside: // the second fault is one too many
			times := p.Var()
			p.Handler(p.Code(slices.Concat(mov(rax, times), []byte{0xff, 0x00, 0x83, 0x38, 0x01}, // inc dword [rax]; cmp dword [rax], 1
				[]byte{0x74, 0x0c}, mov(rax, back), []byte{0xff, 0xe0}, mov(rax, start), []byte{0xff, 0xe0}))) // je; jmp back; jmp start
			p.Do(p.Load8(guests.N(0)))
		case l.owned:
			p.Handler(back)
			fallthrough
		default:
			p.Do(p.Execute(guests.N(start)))
		}
	})
	u.CPUTime = 1 // it may spin
	return u
}

// try runs the guest and counts what it prints on standard error: at most the
// buffer, once, and then a report. Who is alive has printed nothing.
func (l leap) try(t testing.TB) (printed bool) {
	t.Helper()
	r := l.guest(t).run(t)
	report := strings.LastIndex(r.Stderr, "gocat: guest killed by ")
	if report < 0 {
		report = len(r.Stderr)
	}
	if report > lineSize || len(r.Stderr)-report > lineSize {
		t.Errorf("%+v: prints %d bytes before its report: %.700q", l, report, r.Stderr)
	}
	// With other registers the write is one to the console, which is the guest's.
	if strings.Contains(r.Stdout, alive) && (r.Status != 3 || r.Stderr != "") {
		t.Errorf("%+v: alive after %q: status %d, stdout %q", l, r.Stderr, r.Status, r.Stdout)
	}
	return r.Stderr != ""
}

// leapRegs are registers with which the reporter's write is allowed.
func leapRegs(bx uint64) (regs [16]uint64) {
	for i := range regs {
		regs[i] = guests.Scratch + 0x2000 + 0x800*uint64(i)
	}
	regs[rax], regs[rdi], regs[rsi], regs[rdx], regs[rbx] = unix.SYS_WRITE, stderr, lineBase, lineSize, bx
	regs[rsp] = guests.Scratch + 0x1000
	return regs
}

// TestLeapIntoGates has guests that jump to the reporter's writes, in every state
// that they can be in.
func TestLeapIntoGates(t *testing.T) {
	t.Parallel()
	_, at := stubCode()
	printed := 0
	for _, gate := range []uint64{0, at.owned} {
		for _, signal := range []uint64{0, 4, 5, 7, 8, 11, 31, 1 << 31} {
			for _, flags := range []uint64{0, flagTrap, flagAlign | flagDirection} {
				for _, state := range [][2]bool{{false, false}, {true, false}, {true, true}} {
					if (leap{gate, state[0], state[1], flags, leapRegs(signal)}).try(t) {
						printed++
					}
				}
			}
		}
	}
	if printed == 0 {
		t.Error("no guest printed")
	}
}

// TestLeapAnywhere has guests that jump to every byte of what prints and ends, and
// to some of the rest of the stub, once with the registers of the reporter's write
// and once with those of a forbidden call. With GOCAT_SOAK it is every byte.
func TestLeapAnywhere(t *testing.T) {
	t.Parallel()
	code, first := stubCode()
	for at := range uint64(len(code) + len(plan.Stub())) {
		if at >= first.report && at%7 != 0 && os.Getenv("GOCAT_SOAK") == "" {
			continue // each takes milliseconds
		}
		regs := leapRegs(at % 32)
		if at%2 == 0 {
			regs[rax] = forbidden
		}
		leap{at: at, owned: at/2%2 == 0, regs: regs}.try(t)
		regs[rax] ^= forbidden ^ unix.SYS_WRITE
		leap{at: at, owned: at/2%2 != 0, inside: at/2%2 != 0 && at%3 == 0, regs: regs}.try(t)
	}
}

// fuzz sets registers to what may matter in the stub.
func (l *leap) fuzz(seed uint64) {
	r := rand.New(rand.NewPCG(seed, l.at))
	code, at := stubCode()
	pool := []uint64{0, 1, 2, 3, 4, 5, 7, 8, 11, 31, lineSize, lineBase, lineBase + 8, stackBase, stackBase + 8, stackBase + 0x800,
		stackBase + stackSize, textsBase, planBase, bootBase, stubBase, stubBase + at.owned, stubBase + at.report, stubBase + at.pass,
		guests.Scratch, guests.Scratch + 0x1000, guests.Scratch + 0x8000, text, unix.SYS_EXIT_GROUP, unix.SYS_GETPPID, 1 << 63, ^uint64(0)}
	l.regs = leapRegs(pool[r.IntN(10)])
	for i := range l.regs {
		switch r.IntN(4) {
		case 0:
			l.regs[i] = pool[r.IntN(len(pool))]
		case 1:
			l.regs[i] = stubBase + r.Uint64N(uint64(len(code)+len(plan.Stub())))
		}
	}
}

// FuzzStub has a guest jump anywhere, with any registers and flags.
func FuzzStub(f *testing.F) {
	code, at := stubCode()
	for i, offset := range []uint64{0, 2, at.owned, at.owned + 2, uint64(len(code)), at.report, at.pass, gateAt - stubBase} {
		f.Add(uint16(offset), i%2 == 0, i%4 == 0, uint32(i)<<8, uint64(i))
	}
	f.Fuzz(func(t *testing.T, offset uint16, owned, inside bool, flags uint32, seed uint64) {
		l := leap{at: uint64(offset) % (bootBase - stubBase), owned: owned || inside, inside: inside, flags: uint64(flags)}
		l.fuzz(seed)
		l.try(t)
	})
}
