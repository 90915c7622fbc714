package kvmhvt

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
)

// fuzzMemory is what the guest of a fuzzed tender has.
const fuzzMemory = 2 << 20

// newServices makes hypercalls without KVM: a console, a network device at
// handle 1 that reads zeros, one at 2 whose stream has ended, a disk of 8 KiB
// at 3. Text is at minBase, rodata after it.
func newServices(t testing.TB) *services {
	t.Helper()
	img := &image.Image{Target: image.HVT, Version: 2, Entry: minBase, End: minBase + 0x4000, Segments: []image.Segment{
		{Start: minBase, End: minBase + 0x1000, Prot: image.X},
		{Start: minBase + 0x1000, End: minBase + 0x2000, Prot: image.R},
		{Start: minBase + 0x2000, End: minBase + 0x4000, Prot: image.R | image.W},
	}}
	l, err := newLayout(img, fuzzMemory, ringReserve)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := mapAnonymous(l.total)
	if err != nil {
		t.Fatal(err)
	}
	s := &services{mem: guestMemory{mem, l}}
	null := open(t, os.DevNull, unix.O_WRONLY)
	zero := open(t, "/dev/zero", unix.O_RDWR)
	end := open(t, os.DevNull, unix.O_RDWR)
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := open(t, path, unix.O_RDWR)
	if err := s.waits.open(); err != nil {
		t.Fatal(err)
	}
	s.waits.always = 1<<1 | 1<<2
	s.console = console{fd: null, waits: &s.waits}
	for i, fd := range []int{zero, end} {
		d := device.Device{Handle: i + 1, Type: image.Net, Kind: device.Null, FD: fd, Writable: true}
		port, err := d.Private()
		if err != nil {
			t.Fatal(err)
		}
		s.nets[d.Handle] = &netDevice{name: "net", port: port, endsStream: d.EndsStream(device.EOFAuto)}
	}
	s.blocks[3] = &blockDevice{name: "disk", fd: disk, capacity: 8192}
	t.Cleanup(func() {
		s.waits.close()
		unix.Munmap(mem)
	})
	return s
}

func open(t testing.TB, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestHypercallResults(t *testing.T) {
	s := newServices(t)
	const at, data = minBase + 0x2000, minBase + 0x3000
	b := s.mem.b
	put := func(values ...uint64) {
		for i, v := range values {
			store64(b, at+8*i, v)
		}
	}
	do := func(nr int) {
		t.Helper()
		if _, err := s.hypercall(nr, at); err != nil {
			t.Fatal(err)
		}
	}
	// Net: zeros, then the end of a stream.
	copy(b[data:], "not zeros")
	put(1, data, 9, ^uint64(0))
	do(hcNetRead)
	if load64(b, at+16) != 9 || uint32(load64(b, at+24)) != resultOK || !bytes.Equal(b[data:data+9], make([]byte, 9)) {
		t.Errorf("net read: % x", b[at:at+32])
	}
	put(2, data, 9, ^uint64(0))
	do(hcNetRead)
	if load64(b, at+16) != 0 || uint32(load64(b, at+24)) != resultOK {
		t.Errorf("net read at the end: % x", b[at:at+32])
	}
	s.nets[2].endsStream = false
	put(2, data, 9, ^uint64(0))
	do(hcNetRead)
	if load64(b, at+16) != 9 || uint32(load64(b, at+24)) != resultAgain {
		t.Errorf("net read at the end that is hidden: % x", b[at:at+32])
	}
	// Block: several blocks at once, the last one, one too many.
	copy(b[data:], bytes.Repeat([]byte{7}, 1024))
	put(3, 7168, data, 1024, 9)
	do(hcBlockWrite)
	clear(b[data : data+1024])
	put(3, 7680, data, 512, 9)
	do(hcBlockRead)
	if uint32(load64(b, at+32)) != resultOK || b[data] != 7 || b[data+511] != 7 || b[data+512] != 0 {
		t.Errorf("block read: % x", b[at:at+40])
	}
	put(3, 7680, data, 513, 9)
	do(hcBlockRead)
	if uint32(load64(b, at+32)) != resultEINVAL {
		t.Errorf("block read past the end: % x", b[at:at+40])
	}
	// The file has become shorter: an error for the guest, not its end.
	if err := unix.Ftruncate(s.blocks[3].fd, 4096); err != nil {
		t.Fatal(err)
	}
	put(3, 7680, data, 512, 9)
	do(hcBlockRead)
	if uint32(load64(b, at+32)) != resultEUnspc {
		t.Errorf("block read of what is gone: % x", b[at:at+40])
	}
	put(1 << 40)
	do(hcPoll) // returns immediately: two devices are always ready
	if load64(b, at+8) != 1<<1|1<<2 || uint32(load64(b, at+16)) != 2 {
		t.Errorf("poll: % x", b[at:at+24])
	}
	put(0, 200<<32|7)
	if halted, err := s.hypercall(hcHalt, at); !halted || err != nil || s.status != 7 {
		t.Errorf("halt: %v, %v, %d", halted, err, s.status)
	}
}
