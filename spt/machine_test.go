package spt

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/plan"
)

// Registers as instructions number them.
const (
	rax = iota
	rcx
	rdx
	rbx
	rsp
	rbp
	rsi
	rdi
	r8
	r9
	r10
)

// mov is the instruction that sets a register.
func mov(reg byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{0x48 | reg>>3, 0xb8 | reg&7}, v)
}

var syscallInstruction = []byte{0x0f, 0x05}

// call is the code of a system call. It needs no stack.
func call(nr uint64, args ...uint64) []byte {
	code := mov(rax, nr)
	for i, a := range args {
		code = append(code, mov([]byte{rdi, rsi, rdx, r10, r8, r9}[i], a)...)
	}
	return append(code, syscallInstruction...)
}

// alive is what a guest prints to show that it still runs.
const alive = "alive\n"

// survive is code that says so and exits with status 3. It needs no stack.
func survive(p *guests.Probe) []byte {
	return append(
		call(unix.SYS_WRITE, 1, p.Data([]byte(alive)), uint64(len(alive))),
		call(unix.SYS_EXIT_GROUP, 3)...)
}

// execute adds a step of machine code, and returns its address. Should it come
// to its end, the guest survives.
func execute(p *guests.Probe, code ...[]byte) uint64 {
	at := p.Code(append(slices.Concat(code...), survive(p)...))
	p.Do(p.Execute(guests.N(at)))
	return at
}

// dumper is code that writes memory to the standard output, page by page from
// from to to: a page if it is mapped, and the result of writing it in either
// case. It uses no memory but result, 8 bytes.
func dumper(from, to, result uint64) []byte {
	const r12, r13 = 12, 13
	code := append(mov(r12, from), mov(r13, to)...)
	loop := len(code)
	code = append(code, mov(rdi, 1)...)
	code = append(code, mov(rdx, image.PageSize)...)
	code = append(code, mov(rax, unix.SYS_WRITE)...)
	code = append(code, 0x4c, 0x89, 0xe6) // mov rsi, r12
	code = append(code, syscallInstruction...)
	code = append(code, mov(rsi, result)...)
	code = append(code, 0x48, 0x89, 0x06) // mov [rsi], rax
	code = append(code, mov(rdx, 8)...)
	code = append(code, mov(rax, unix.SYS_WRITE)...)
	code = append(code, syscallInstruction...)
	code = append(code, 0x49, 0x81, 0xc4, 0x00, 0x10, 0, 0) // add r12, 4096
	code = append(code, 0x4d, 0x39, 0xec, 0x0f, 0x85)       // cmp r12, r13; jne loop
	code = binary.LittleEndian.AppendUint32(code, uint32(loop-len(code)-4))
	return append(code, call(unix.SYS_EXIT_GROUP, 0)...)
}

// parseDump returns what a dumper printed: the page at each address, nil for
// those that are not mapped.
func parseDump(t *testing.T, out string, from, to uint64) map[uint64][]byte {
	t.Helper()
	dump := map[uint64][]byte{}
	unmapped := string(binary.LittleEndian.AppendUint64(nil, plan.Errno(unix.EFAULT)))
	mapped := string(binary.LittleEndian.AppendUint64(nil, image.PageSize))
	for at := from; at < to; at += image.PageSize {
		if rest, ok := strings.CutPrefix(out, unmapped); ok {
			dump[at], out = nil, rest
			continue
		}
		if len(out) < image.PageSize+8 || out[image.PageSize:image.PageSize+8] != mapped {
			t.Fatalf("the guest's dump is damaged at address %#x", at)
		}
		dump[at], out = []byte(out[:image.PageSize]), out[image.PageSize+8:]
	}
	if out != "" {
		t.Fatalf("%d bytes follow the guest's dump", len(out))
	}
	return dump
}

// pollFirst is code of a guest that copies the descriptor fd to the standard
// output like cat, but never reads before epoll says that it can. It reads at
// most 1000 bytes per call, so that input is left over. Its exit status is 2
// when epoll does not name the device of handle 1, 4 when it cannot read.
func pollFirst(fd uint64) []byte {
	const event, buffer = guests.Scratch, guests.Scratch + 64
	var code []byte
	add := func(b ...[]byte) { code = append(code, slices.Concat(b...)...) }
	exitUnless := func(condition byte, status uint64) { // a short jump's
		exit := call(unix.SYS_EXIT_GROUP, status)
		add([]byte{condition, byte(len(exit))}, exit)
	}
	const je, jns, jg = 0x74, 0x79, 0x7f
	add(mov(rax, bootBase+bootEpoll), []byte{0x44, 0x8b, 0x38}) // mov r15d, [rax]
	wait := len(code)
	add(mov(rax, unix.SYS_EPOLL_PWAIT), []byte{0x44, 0x89, 0xff}) // mov edi, r15d
	add(mov(rsi, event), mov(rdx, 1), mov(r10, ^uint64(0)), mov(r8, 0), mov(r9, 0), syscallInstruction)
	add([]byte{0x83, 0xf8, 1}) // cmp eax, 1
	exitUnless(je, 2)
	add(mov(rax, event), []byte{0x48, 0x83, 0x78, 4, 1}) // cmp qword [rax+4], 1
	exitUnless(je, 2)
	add(call(unix.SYS_READ, fd, buffer, 1000))
	add([]byte{0x83, 0xf8, 0xf5, 0x0f, 0x84}) // cmp eax, -EAGAIN; je wait
	code = binary.LittleEndian.AppendUint32(code, uint32(wait-len(code)-4))
	add([]byte{0x85, 0xc0}) // test eax, eax
	exitUnless(jns, 4)
	exitUnless(jg, 0)
	add([]byte{0x89, 0xc2}) // mov edx, eax
	add(mov(rax, unix.SYS_WRITE), mov(rdi, 1), mov(rsi, buffer), syscallInstruction)
	add([]byte{0xe9}) // jmp wait
	return binary.LittleEndian.AppendUint32(code, uint32(wait-len(code)-4))
}
