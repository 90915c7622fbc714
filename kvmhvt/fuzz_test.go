package kvmhvt

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
)

// fuzzed is a tender without KVM beside the model of it. Memory that no
// hypercall may change is read-only, so that the attempt is a fault.
type fuzzed struct {
	s     *services
	m     *model
	base  []byte // guest memory before each call
	files []*fuzzedFile
	spare []byte
}

// fuzzedFile is a device's file, and what the model says is in it.
type fuzzedFile struct {
	fd       int
	contents []byte // before each call
	want     *[]byte
}

// newFuzzed makes the services of the model, with noise in their memory and
// files. With a ring, the memory above the guest's can be written to.
func newFuzzed(f *testing.F, ring bool) *fuzzed {
	f.Helper()
	rnd := rand.New(rand.NewPCG(1, 1))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	z := &fuzzed{s: newServices(f), m: &model{nets: []uint64{1, 2, 4, 5}}, base: noise(fuzzMemory)}
	copy(z.s.mem.b, z.base)
	z.m.mem = bytes.Clone(z.base)
	readOnly := [][]byte{z.s.mem.b[:modelData], z.s.mem.b[fuzzMemory:]}
	if ring {
		readOnly = readOnly[:1]
		z.m.nets = []uint64{1, 2, 4} // not the file that grows
	}
	for _, b := range readOnly {
		if err := unix.Mprotect(b, unix.PROT_READ); err != nil {
			f.Fatal(err)
		}
	}
	z.s.console.fd = z.file(f, nil, &z.m.console)
	z.s.blocks[3] = &blockDevice{name: "disk", fd: z.file(f, noise(modelDisk), &z.m.disk), capacity: modelDisk}
	z.s.blocks[6] = &blockDevice{name: "short", fd: z.file(f, noise(1000), &z.m.short), capacity: modelDisk}
	fds := [...]int{
		1: z.input(f, noise(4096)),
		2: open(f, os.DevNull, unix.O_RDWR),
		4: open(f, os.DevNull, unix.O_RDWR),
		5: z.file(f, nil, &z.m.sent),
	}
	z.s.nets, z.s.waits.always = [image.MaxEntries]*netDevice{}, 0
	for _, handle := range z.m.nets {
		d := device.Device{Handle: int(handle), Type: image.Net, Kind: device.File, FD: fds[handle], Writable: handle != 1}
		port, err := d.Private()
		if err != nil {
			f.Fatal(err)
		}
		z.s.nets[handle] = &netDevice{name: "net", port: port, endsStream: handle != 4}
		z.s.waits.always |= 1 << handle
	}
	z.spare = make([]byte, fuzzMemory+modelDisk)
	return z
}

// file makes a file in memory.
func (z *fuzzed) file(f *testing.F, contents []byte, want *[]byte) int {
	fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
	if err == nil {
		_, err = unix.Pwrite(fd, contents, 0)
	}
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Close(fd) })
	z.files = append(z.files, &fuzzedFile{fd, contents, want})
	return fd
}

// input makes a file that can only be read.
func (z *fuzzed) input(f *testing.F, contents []byte) int {
	fd := open(f, "/proc/self/fd/"+strconv.Itoa(z.file(f, contents, &z.m.input)), unix.O_RDONLY)
	z.files[len(z.files)-1].fd = fd
	return fd
}

// reset makes memory and files what they were at first.
func (z *fuzzed) reset(t *testing.T) {
	m := z.m
	t.Cleanup(func() {
		if t.Failed() {
			copy(m.mem[modelData:], z.base[modelData:])
			copy(z.s.mem.b[modelData:], z.base[modelData:])
		}
	})
	if m.lo < m.hi {
		copy(m.mem[m.lo:m.hi], z.base[m.lo:m.hi])
		copy(z.s.mem.b[m.lo:m.hi], z.base[m.lo:m.hi])
	}
	m.lo, m.hi = fuzzMemory, 0
	for _, file := range z.files {
		_, err := unix.Seek(file.fd, 0, unix.SEEK_SET)
		if file.want != &m.input && !bytes.Equal(*file.want, file.contents) {
			err = errors.Join(err, unix.Ftruncate(file.fd, int64(len(file.contents))))
			if len(file.contents) > 0 {
				_, e := unix.Pwrite(file.fd, file.contents, 0)
				err = errors.Join(err, e)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		*file.want = append((*file.want)[:0:0], file.contents...)
	}
	z.s.status, m.status = 0, 0
}

// place puts bytes where the guest could have put them.
func (z *fuzzed) place(addr uint64, b []byte) {
	for i := range b {
		if at := addr + uint64(i); z.m.can(true, at, 1) {
			z.m.put(at, b[i:i+1])
			z.s.mem.b[at] = b[i]
		}
	}
}

// compare fails t where the tender's and the model's world differ.
func (z *fuzzed) compare(t *testing.T, got, want verdict, err error) {
	t.Helper()
	var why *stop
	if err != nil && (!errors.As(err, &why) || why.status != 1 || why.reason == "" || strings.Contains(why.reason, "\n")) {
		t.Errorf("error %v", err)
	}
	if err != nil {
		got = isStopped
	}
	if got != want || z.s.status != z.m.status {
		t.Fatalf("%+v, status %d, %v; want %+v, status %d", got, z.s.status, err, want, z.m.status)
	}
	if have, want := z.s.mem.b[modelData:modelEnd], z.m.mem[modelData:]; !bytes.Equal(have, want) {
		for i := range have {
			if have[i] != want[i] {
				t.Fatalf("memory at %#x is % x, want % x", modelData+i, have[i:min(i+16, len(have))], want[i:min(i+16, len(want))])
			}
		}
	}
	for i, file := range z.files {
		if file.want == &z.m.input {
			continue
		}
		n, err := unix.Pread(file.fd, z.spare, 0)
		if err != nil || !bytes.Equal(z.spare[:n], *file.want) {
			t.Fatalf("file %d has %d bytes, want %d, or others: %v", i, n, len(*file.want), err)
		}
	}
}

// FuzzHypercall makes any hypercall with any structure in a memory of noise.
// Outcome, memory, console and devices are what the model says.
func FuzzHypercall(f *testing.F) {
	const at = modelData + 0x100
	for _, seed := range []struct {
		nr         uint8
		addr       uint32
		a, b, c, d uint64
	}{
		{1, at, 0, 0, 0, 0}, {1, modelEnd - 8, 0, 0, 0, 0}, {1, modelEnd - 7, 0, 0, 0, 0}, {1, modelData - 4, 0, 0, 0, 0},
		{2, at, at, 5, 0, 0}, {2, at, modelLow, modelEnd - modelLow, 0, 0}, {2, modelLow + 1, 0, 0, 0, 0}, {2, at, 1, 0, 0, 0},
		{3, at, 0, 0, 0, 0}, {3, at, ^uint64(0), 0, 0, 0}, {3, modelEnd - 24, 0, 0, 0, 0}, {3, modelEnd - 23, 0, 0, 0, 0},
		{4, at, 3, 512, at + 64, 512}, {4, at, 3, ^uint64(0), at, 2}, {4, at, 3, 1, at, ^uint64(0)}, {4, at, 3, 8191, at, 1}, {4, at, 3, 8192, at, 0}, {4, at, 6, 4096, modelLow, 512},
		{5, at, 3, 512, at + 64, 512}, {5, at, 3, 0, at, modelDisk}, {5, at, 6, 512, at + 64, 1024}, {5, at, 6, 1000, at, 1}, {5, at, 3, 0, modelData - 1, 2},
		{6, at, 1, at, 64, 0}, {6, at, 2, modelEnd - 8, 8, 0}, {6, at, 5, modelLow, 1500, 0}, {6, at, 64, 0, 0, 0}, {6, at, 1 << 32, 0, 0, 0},
		{7, at, 1, at + 64, 64, 0}, {7, at, 1, at - 1, 64, 0}, {7, at, 1, modelData, modelEnd - modelData, 0}, {7, at, 2, at, 64, 0}, {7, at, 4, at, 64, 0}, {7, at, 5, at, 0, 0}, {7, at, 1, modelData - 1, 1, 0},
		{8, at, 0, 7, 0, 0}, {8, at, modelEnd - 512, 1 << 63, 0, 0}, {8, at, modelEnd - 511, 0, 0, 0}, {8, modelEnd - 16, 0, 255, 0, 0},
		{0, at, 0, 0, 0, 0}, {9, at, 0, 0, 0, 0}, {255, 0, 0, 0, 0, 0},
	} {
		f.Add(seed.nr, seed.addr, seed.a, seed.b, seed.c, seed.d, uint64(0xffffffffffffffff))
	}
	z := newFuzzed(f, false)
	f.Fuzz(func(t *testing.T, nr uint8, addr uint32, a, b, c, d, e uint64) {
		z.reset(t)
		var arg [40]byte
		for i, v := range [...]uint64{a, b, c, d, e} {
			store64(arg[:], 8*i, v)
		}
		z.place(uint64(addr), arg[:])
		start := uint64(time.Now().UnixNano())
		halted, err := z.s.hypercall(int(nr), uint64(addr))
		if nr == 1 && err == nil {
			z.m.walltime = load64(z.s.mem.b, int(addr))
			if now := uint64(time.Now().UnixNano()); z.m.walltime < start || z.m.walltime > now {
				t.Errorf("the time is %d, between %d and %d", z.m.walltime, start, now)
			}
		}
		z.compare(t, verdict{halted: halted}, z.m.hypercall(int(nr), uint64(addr)), err)
	})
}

// FuzzRing serves rings with any indices and requests.
func FuzzRing(f *testing.F) {
	entry := func(operation, handle uint32, data uint64, length, id uint32) []byte {
		b := make([]byte, ringEntrySize)
		store32(b, 0, operation)
		store32(b, 4, handle)
		store64(b, 8, data)
		store32(b, 16, length)
		store32(b, 20, id)
		return b
	}
	for _, seed := range []struct {
		requests, head, comTail uint32
		entries                 [][]byte
	}{
		{1, 0, 0, [][]byte{entry(1, 2, modelLow, 64, 9)}},
		{2, 1023, 1023, [][]byte{entry(2, 1, modelData, 100, 9), entry(2, 1, modelEnd-100, 100, 10)}},
		{3, 1<<32 - 2, 1<<32 - 1, [][]byte{entry(2, 1, modelData, 4000, 1), entry(2, 1, modelData, 4000, 2), entry(2, 1, modelData, 4000, 3)}},
		{1, 5, 6, [][]byte{entry(2, 4, modelData, 1, 1<<32-1)}},
		{1, 5, 6, [][]byte{entry(2, 64, ^uint64(0), 1<<32-1, 0)}},
		{2, 5, 6, [][]byte{entry(0, 1, 0, 0, 0), entry(1, 1, modelEnd, 0, 0)}},
		{1, 7, 0, [][]byte{entry(2, 1, modelData-1, 2, 0)}},
		{1, 7, 0, [][]byte{entry(1, 1, modelEnd, 1, 0)}},
		{1 << 31, 7, 0, nil}, {1<<32 - 1, 0, 0, nil}, {1025, 1024, 0, nil}, {0, 3, 3, nil},
	} {
		f.Add(seed.requests, seed.head, seed.comTail, bytes.Join(seed.entries, nil))
	}
	z := newFuzzed(f, true)
	rnd := rand.New(rand.NewPCG(2, 2))
	ring := make([]byte, ringSize)
	for i := range ring {
		ring[i] = byte(rnd.Uint32())
	}
	z.m.ring = make([]byte, ringSize)
	f.Fuzz(func(t *testing.T, requests, head, comTail uint32, entries []byte) {
		z.reset(t)
		r := &netRing{s: z.s, addr: fuzzMemory, b: z.s.mem.b[fuzzMemory:][:ringSize], entHead: head, comTail: comTail}
		copy(r.b, ring)
		for i, b := range entries[:min(len(entries), ringSlots*ringEntrySize)] {
			r.b[ringEntries+(int(head%ringSlots)*ringEntrySize+i)%(ringSlots*ringEntrySize)] = b
		}
		store32(r.b, ringEntTail, head+requests)
		copy(z.m.ring, r.b)
		err := r.drain()
		wantHead, wantTail, want := z.m.drain(head, comTail)
		if r.entHead != wantHead || r.comTail != wantTail {
			t.Errorf("%d served and %d results, want %d and %d", r.entHead, r.comTail, wantHead, wantTail)
		}
		if !bytes.Equal(r.b, z.m.ring) {
			t.Error("the ring differs")
		}
		z.compare(t, verdict{}, want, err)
	})
}
