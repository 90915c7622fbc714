package kernel

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"gocat/internal/abi"
	"gocat/internal/image"
)

// host is a machine and a tender in this process, with a clock that passes
// only while the guest waits, or at a step a look.
type host struct {
	t       *testing.T
	now     int64             // ns
	step    int64             // ns that pass with each look at a clock
	alarm   int64             // spt: what the timer is set to, 0: not
	input   map[uint64][]byte // by handle: what the device has; nil entries are its end
	closed  map[uint64]bool   // devices at their end
	arrives []arrival
	console []byte
	sent    map[uint64][]byte
	block   []byte
	asks    uint32 // signals that come in the next wait
	full    int    // writes on devices that fail with EAGAIN
	polls   int
	tls     uint64
	random  bool
	info    []byte
	misses  int // reads that find nothing though there is input: it comes after them
}

// arrival is input that comes later.
type arrival struct {
	at     int64
	handle uint64
	data   string
}

// Handles of the devices that every test has.
const (
	stdinHandle = 1
	diskHandle  = 2
	netHandle   = 3
	hostFDBase  = 100 // spt: the descriptor of a handle is so much more
	diskBlock   = 512
)

// boot starts the kernel for a target, with a command line.
func boot(t *testing.T, target uint64, args string) *host {
	t.Helper()
	w := &host{t: t, now: 5 * second, random: true, input: map[uint64][]byte{}, closed: map[uint64]bool{},
		sent: map[uint64][]byte{}, block: make([]byte, 8*diskBlock)}
	useMemory(t, 512)
	base, end := memory.base, memory.limit
	le := binary.LittleEndian
	mft := image.Manifest{{Type: image.Reserved}, {Name: "stdin", Type: image.Net, MTU: 1500, MAC: [6]byte{2, 0, 0, 0, 0, 1}},
		{Name: "disk", Type: image.Block, Capacity: uint64(len(w.block)), BlockSize: diskBlock},
		{Name: "net", Type: image.Net, MTU: 9000}}
	for i := range mft {
		mft[i].HostFD, mft[i].Attached = int32(hostFDBase+i), true
	}
	w.info = make([]byte, 64, 64<<10)
	w.info = append(append(mft.AppendTo(w.info), args...), make([]byte, maxCmdline-len(args))...)
	at := uintptr(unsafe.Pointer(&w.info[0]))
	fields := []uint64{uint64(end), uint64(base)}
	if target == targetHVT {
		fields = append(fields, second) // one cycle is 1 ns
	}
	fields = append(fields, uint64(at)+64+uint64(mft.Size()), uint64(at)+64)
	for i, v := range fields {
		le.PutUint64(w.info[8*i:], v)
	}
	if target == targetSPT {
		le.PutUint32(w.info[32:], 7)
		le.PutUint32(w.info[36:], 8)
	}
	machine = instructions{
		syscall6: w.syscall, out: w.out, wrmsr: func(_ uint32, v uint64) { w.tls = v },
		rdtsc:  func() uint64 { w.pass(); return uint64(w.now) },
		random: func() (uint64, bool) { return 0x0123456789abcdef, w.random },
		cpuid: func(leaf uint32) (a, b, c, d uint32) {
			if leaf == 1 && w.random {
				c = 1 << 30
			}
			return 7, b, c, d
		},
	}
	Target = target
	t.Cleanup(func() { Target, machine = targetUnset, instructions{} })
	sptAlarm, Asked = 0, 0
	Start(at, end, 0xabc, 0, 0, 0, 0)
	return w
}

func (w *host) pass() { w.now += w.step }

// ready is the set of devices with input, after what has arrived by now.
func (w *host) ready() (set uint64) {
	var later []arrival
	for _, a := range w.arrives {
		switch {
		case a.at > w.now:
			later = append(later, a)
		case a.data == "":
			w.closed[a.handle] = true
		default:
			w.input[a.handle] = append(w.input[a.handle], a.data...)
		}
	}
	w.arrives = later
	for _, h := range []uint64{stdinHandle, netHandle} {
		if len(w.input[h]) > 0 || w.closed[h] {
			set |= 1 << h
		}
	}
	return set
}

// wait lets time pass until a device has input or the deadline.
func (w *host) wait(deadline int64) (set uint64) {
	w.polls++
	for {
		if set = w.ready(); set != 0 || w.now >= deadline {
			return set
		}
		if w.asks != 0 {
			Asked, w.asks = w.asks, 0
			return 0
		}
		next := deadline
		for _, a := range w.arrives {
			next = min(next, a.at)
		}
		if next == never {
			w.t.Fatal("the guest waits for ever")
		}
		w.now = next
	}
}

func (w *host) read(handle uint64, p, n uintptr) int64 {
	w.ready()
	in := w.input[handle]
	if w.misses > 0 {
		w.misses--
		return errAGAIN
	}
	if len(in) == 0 {
		if w.closed[handle] {
			return 0
		}
		return errAGAIN
	}
	c := copy(bytes(p, n), in)
	w.input[handle] = in[c:]
	return int64(c)
}

func (w *host) write(handle uint64, p, n uintptr) int64 {
	if w.full > 0 {
		w.full--
		return errAGAIN
	}
	w.sent[handle] = append(w.sent[handle], bytes(p, n)...)
	return int64(n)
}

// syscall is the spt tender: it fails the test at what a seccomp filter forbids.
func (w *host) syscall(nr, a, b, c, d uintptr) uintptr {
	result := func(v int64) uintptr { return uintptr(v) }
	switch {
	case nr == hostWrite && a == hostStdout:
		w.console = append(w.console, bytes(b, c)...)
		return c
	case nr == hostRead:
		return result(w.read(uint64(a)-hostFDBase, b, c))
	case nr == hostWrite:
		return result(w.write(uint64(a)-hostFDBase, b, c))
	case (nr == hostPread || nr == hostPwrite) && a == hostFDBase+diskHandle && c == diskBlock && d <= uintptr(len(w.block))-diskBlock:
		if nr == hostPread {
			return uintptr(copy(bytes(b, c), w.block[d:]))
		}
		return uintptr(copy(w.block[d:], bytes(b, c)))
	case nr == hostArchPrctl && a == abi.ArchSetFS:
		w.tls = uint64(b)
		return 0
	case nr == hostClockGettime && a <= 1:
		w.pass()
		store64(b, uint64(w.now/second)+uint64(1-a)*1000)
		store64(b+8, uint64(w.now%second))
		return 0
	case nr == hostTimerSet && a == 8 && b == timerAbsolute && d == 0:
		w.alarm = int64(load64(c+16))*second + int64(load64(c+24))
		return 0
	case nr == hostEpollPwait && a == 7:
		deadline := w.now
		if int64(d) < 0 {
			if deadline = w.alarm; deadline == 0 {
				deadline = never
			}
		}
		set, n := w.wait(deadline), uintptr(0)
		for h := range uint64(maxDevices) {
			if set>>h&1 != 0 {
				store32(b+n*epollEvent, epollIn)
				store64(b+n*epollEvent+4, h)
				n++
			}
		}
		if w.alarm != 0 && w.now >= w.alarm {
			store64(b+n*epollEvent+4, abi.TimerHandle)
			n++
		}
		return n
	}
	w.t.Fatalf("system call %d(%#x, %#x, %#x, %#x) is forbidden", nr, a, b, c, d)
	return 0
}

// out is the hvt tender.
func (w *host) out(port, v uint32) {
	if port == abi.RingPort {
		w.ring()
		return
	}
	if v != uint32(address64(&hvtArgs[0])) {
		w.t.Fatalf("hypercall with arguments at %#x", v)
	}
	ret := func(word int, r int64) {
		switch {
		case r == errAGAIN:
			hvtArgs[word] = 1
		case r < 0:
			hvtArgs[word] = 3
		default:
			hvtArgs[word], hvtArgs[2] = 0, uint64(r)
		}
	}
	h := hvtArgs[0]
	switch port - abi.HypercallPort {
	case abi.Walltime:
		hvtArgs[0] = uint64(w.now + 1000*second)
	case abi.Puts:
		w.console = append(w.console, bytes(uintptr(hvtArgs[0]), uintptr(hvtArgs[1]))...)
	case abi.Poll:
		if Ring != 0 {
			w.ring()
		}
		hvtArgs[1] = w.wait(w.now + int64(hvtArgs[0]))
	case abi.NetRead:
		ret(3, w.read(h, uintptr(hvtArgs[1]), uintptr(hvtArgs[2])))
	case abi.NetWrite:
		ret(3, w.write(h, uintptr(hvtArgs[1]), uintptr(hvtArgs[2])))
	case abi.BlockRead, abi.BlockWrite:
		at, p, n := hvtArgs[1], uintptr(hvtArgs[2]), uintptr(hvtArgs[3])
		if h != diskHandle || n != diskBlock || at%diskBlock != 0 || at > uint64(len(w.block))-diskBlock {
			w.t.Fatalf("block transfer of %d bytes at %d", n, at)
		}
		if hvtArgs[4] = 0; port-abi.HypercallPort == abi.BlockRead {
			copy(bytes(p, n), w.block[at:])
		} else {
			copy(w.block[at:], bytes(p, n))
		}
	default:
		w.t.Fatalf("hypercall %d", port-abi.HypercallPort)
	}
}

// ring serves the network ring, as kvmhvt does.
func (w *host) ring() {
	r := uintptr(Ring)
	for head := load32(r + abi.RingEntHead); head != load32(r+abi.RingEntTail); head++ {
		e := r + abi.RingEntries + uintptr(head%abi.RingSlots)*abi.RingEntrySize
		handle, p, n := uint64(load32(e+4)), uintptr(load64(e+8)), uintptr(load32(e+16))
		switch load32(e) {
		case abi.RingNetWrite:
			w.write(handle, p, n)
		case abi.RingNetRead:
			tail := load32(r + abi.RingComTail)
			c := r + abi.RingResults + uintptr(tail%abi.RingSlots)*abi.RingResultSize
			got := w.read(handle, p, n)
			store32(c, load32(e+20))
			store32(c+4, abi.ResultOK)
			if got == errAGAIN {
				store32(c+4, abi.ResultAgain)
			}
			store32(c+8, uint32(max(got, 0)))
			store32(r+abi.RingComTail, tail+1)
		default:
			w.t.Fatalf("operation %d in the ring", load32(e))
		}
		store32(r+abi.RingEntHead, head+1)
	}
}

// call makes a system call as the running thread and returns what that finds in
// its result when it runs next; other threads may run when call returns, and
// then the result is still that of the waiting.
func call(nr uint64, args ...uint64) *thread {
	t := &threads[current]
	t.rax = nr
	for i, to := range []*uint64{&t.rdi, &t.rsi, &t.rdx, &t.r10, &t.r8, &t.r9}[:len(args)] {
		*to = args[i]
	}
	Enter()
	return t
}

// result makes a call that does not wait.
func result(nr uint64, args ...uint64) int64 { return int64(call(nr, args...).rax) }

// both runs a test under both back ends.
func both(t *testing.T, f func(t *testing.T, w *host)) {
	for name, target := range map[string]uint64{"spt": targetSPT, "hvt": targetHVT} {
		t.Run(name, func(t *testing.T) { f(t, boot(t, target, "")) })
	}
}

// buffer is n bytes of memory that the guest has mapped.
func buffer(t *testing.T, n uintptr) uintptr {
	t.Helper()
	p := mmap(0, n, 3, mapAnonymous)
	if p < 0 {
		t.Fatal("mmap:", p)
	}
	return uintptr(p)
}

// text puts a string with a NUL into guest memory.
func text(t *testing.T, s string) uint64 {
	p := buffer(t, uintptr(len(s)+1))
	copy(bytes(p, uintptr(len(s))), s)
	return uint64(p)
}
