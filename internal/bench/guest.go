package bench

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/peer"
)

// work is what a guest does: it names an image for each target.
type work struct {
	name   string
	device bool     // it has the network device stdin, which is descriptor 0
	strict bool     // as spt guest it keeps to the strict policy
	shown  bool     // /proc shows the memory of its process to its own user
	args   []string // its own
	build  func(image.Target) ([]byte, error)
}

// hello prints a line and exits.
var hello = work{name: "hello", build: func(t image.Target) ([]byte, error) {
	p := guests.NewProbe(t)
	p.Do(p.Puts(helloLine))
	return p.Image()
}}

const helloLine = "Hello.\n"

// cat copies stdin to the console, at most size bytes per read; it reads by the
// network ring if ring says so.
func cat(size uint64, ring bool) work {
	return work{
		name: fmt.Sprintf("cat-%d-%v", size, ring), device: true, strict: true, args: peer.CatArgs(),
		build: func(t image.Target) ([]byte, error) { return guests.CatReading(t, size, ring) },
	}
}

// Machine code that asks the tender, or the kernel, the same thing many times.
var (
	// System call AX with arguments DI, SI and DX, R8 times; the result is the
	// last one's. SYSCALL destroys RCX and R11.
	callLoop = []byte{
		0x49, 0x89, 0xc4, // mov r12, rax
		0x4c, 0x89, 0xe0, // again: mov rax, r12
		0x0f, 0x05, // syscall
		0x49, 0xff, 0xc8, // dec r8
		0x75, 0xf6, // jnz again
		0xc3, // ret
	}
	// The same, with the descriptor that is stored at DI.
	readLoop = append([]byte{0x8b, 0x3f}, callLoop...) // mov edi, [rdi]
	// Hypercall at port SI with the struct at R10, DI times.
	outLoop = []byte{
		0x89, 0xf2, // mov edx, esi
		0x44, 0x89, 0xd0, // mov eax, r10d
		0xef,             // again: out dx, eax
		0x48, 0xff, 0xcf, // dec rdi
		0x75, 0xfa, // jnz again
		0xc3, // ret
	}
	// Read request for handle 1 by the network ring at SI, of up to 64 bytes to
	// R10, waiting for the result, DI times; the result is how many were served.
	ringLoop = []byte{
		0x45, 0x31, 0xc0, // xor r8d, r8d
		0x44, 0x89, 0xc0, // again: mov eax, r8d
		0x25, 0xff, 0x03, 0x00, 0x00, // and eax, 1023
		0xc1, 0xe0, 0x05, // shl eax, 5
		0x4c, 0x8d, 0x8c, 0x06, 0x80, 0x00, 0x00, 0x00, // lea r9, [rsi+rax+128]: the entry
		0x41, 0xc7, 0x01, 0x02, 0x00, 0x00, 0x00, // mov dword [r9], 2: read
		0x41, 0xc7, 0x41, 0x04, 0x01, 0x00, 0x00, 0x00, // mov dword [r9+4], 1: the handle
		0x4d, 0x89, 0x51, 0x08, // mov [r9+8], r10
		0x41, 0xc7, 0x41, 0x10, 0x40, 0x00, 0x00, 0x00, // mov dword [r9+16], 64
		0x45, 0x89, 0x41, 0x14, // mov [r9+20], r8d
		0x41, 0xff, 0xc0, // inc r8d
		0x44, 0x89, 0xc0, // mov eax, r8d
		0x87, 0x06, // xchg [rsi], eax: ent_tail, and a barrier before what follows
		0x83, 0x7e, 0x48, 0x00, // cmp dword [rsi+72], 0: does the tender sleep?
		0x74, 0x06, // je served
		0xba, 0x00, 0x06, 0x00, 0x00, // mov edx, 0x600
		0xef,       // out dx, eax
		0xf3, 0x90, // served: pause
		0x44, 0x39, 0x46, 0x44, // cmp [rsi+68], r8d: com_tail
		0x75, 0xf8, // jne served
		0x44, 0x89, 0x46, 0x04, // mov [rsi+4], r8d: com_head
		0x48, 0xff, 0xcf, // dec rdi
		0x75, 0xa9, // jnz again
		0x8b, 0x46, 0x44, // mov eax, [rsi+68]
		0xc3, // ret
	}
)

// stdinFD is the offset in the manifest of the descriptor of device 1.
const stdinFD = abi.ManifestHeader + abi.EntrySize + abi.EntryHostFD

// waiting writes to mb megabytes of memory, waits for its device, which is stdin, and
// exits. It is for spt.
func waiting(mb uint64) work {
	const from = 16 << 20
	return work{name: fmt.Sprintf("waiting-%d", mb), device: true, build: func(t image.Target) ([]byte, error) {
		p := guests.NewProbe(t, image.Entry{Name: "stdin", Type: image.Net})
		p.Sweep(from, from+mb<<20, image.PageSize, func(address guests.Value) []guests.Step {
			return []guests.Step{p.Store64(address, address)}
		})
		if t == image.HVT {
			p.Hypercall(abi.Poll, guests.Scratch, guests.N(1<<62))
			p.Do(p.Load64(guests.N(guests.Scratch+16)).Equals(guests.N(1), 2))
			return p.Image()
		}
		p.Do(p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(abi.SPTBootEpollFD), guests.N(guests.Scratch), guests.N(1),
			guests.N(1<<32-1), guests.N(0), guests.N(0)).Equals(guests.N(1), 2))
		return p.Image()
	}}
}

// clock asks for the time of day n times: the system call clock_gettime, or the
// hypercall walltime.
func clock(n uint64) work {
	return work{name: fmt.Sprintf("clock-%d", n), build: func(t image.Target) ([]byte, error) {
		p := guests.NewProbe(t)
		switch {
		case n == 0:
		case t == image.SPT:
			p.Do(guests.Step{Code: guests.N(p.Code(callLoop)), AX: guests.N(unix.SYS_CLOCK_GETTIME),
				SI: guests.N(guests.Scratch), R8: guests.N(n)}.Equals(guests.N(0), 2))
		default:
			p.Do(guests.Step{Code: guests.N(p.Code(outLoop)), DI: guests.N(n),
				SI: guests.N(abi.HypercallPort + abi.Walltime), R10: guests.N(guests.Scratch)})
		}
		if n > 0 {
			p.Do(p.Move(guests.At(guests.Scratch)).Differs(guests.N(0), 3))
		}
		return p.Image()
	}}
}

// read reads the device stdin, where there is nothing, n times: by the system
// call read, the hypercall net_read, or a request in the network ring.
func read(n uint64, ring bool) work {
	const data = guests.Scratch + 0x100
	name := fmt.Sprintf("read-%d-%v", n, ring)
	return work{name: name, device: true, build: func(t image.Target) ([]byte, error) {
		p := guests.NewProbe(t, image.Entry{Name: "stdin", Type: image.Net})
		switch {
		case n == 0:
		case t == image.SPT:
			p.Do(guests.Step{Code: guests.N(p.Code(readLoop)), AX: guests.N(unix.SYS_READ), DI: guests.Boot(abi.SPTBootManifest).Plus(stdinFD),
				SI: guests.N(data), DX: guests.N(64), R8: guests.N(n)}.Equals(guests.Errno(uint64(unix.EAGAIN)), 2))
		case ring:
			p.Do(guests.Step{Code: guests.N(p.Code(ringLoop)), DI: guests.N(n),
				SI: guests.Boot(abi.HVTBootRing), R10: guests.N(data)}.Equals(guests.N(n), 2))
		default: // struct hvt_hc_net_read: handle, data, size, result
			for i, v := range []uint64{1, data, 64, 0} {
				p.Do(p.Store64(guests.N(guests.Scratch+8*uint64(i)), guests.N(v)))
			}
			p.Do(guests.Step{Code: guests.N(p.Code(outLoop)), DI: guests.N(n),
				SI: guests.N(abi.HypercallPort + abi.NetRead), R10: guests.N(guests.Scratch)})
			p.Do(p.Move(guests.At32(guests.Scratch+24)).Equals(guests.N(abi.ResultAgain), 2))
		}
		return p.Image()
	}}
}
