package spt

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/abi"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestTimer has a guest that waits for a deadline, as Solo5's bindings do.
func TestTimer(t *testing.T) {
	const now, deadline, event = guests.Scratch, guests.Scratch + 0x100, guests.Scratch + 0x200
	u := probe(t, func(p *guests.Probe) {
		wait := func(milliseconds uint64) guests.Step {
			return p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(bootEpoll), guests.N(event), guests.N(1), guests.N(milliseconds), guests.N(0))
		}
		set := p.Syscall(unix.SYS_TIMERFD_SETTIME, guests.Boot32(bootTimer), guests.N(unix.TFD_TIMER_ABSTIME), guests.N(deadline), guests.N(0))
		p.Do(wait(0).Equals(guests.N(0), 10))
		p.Do(p.Syscall(unix.SYS_CLOCK_GETTIME, guests.N(unix.CLOCK_MONOTONIC), guests.N(now)).Equals(guests.N(0), 11))
		// In a second: the other words of struct itimerspec are zero.
		p.Do(p.Store64(guests.N(deadline+16), guests.At(now).Plus(1)))
		p.Do(p.Store64(guests.N(deadline+24), guests.At(now+8)))
		p.Do(set.Equals(guests.N(0), 12), wait(50).Equals(guests.N(0), 13))
		p.Do(wait(^uint64(0)).Equals(guests.N(1), 14))
		p.Do(p.Move(guests.At(event+4)).Equals(guests.N(timerData), 15))
		// In the past.
		p.Do(p.Store64(guests.N(deadline+16), guests.N(1)))
		p.Do(set.Equals(guests.N(0), 16), wait(^uint64(0)).Equals(guests.N(1), 17))
		// Never.
		p.Do(p.Store64(guests.N(deadline+16), guests.N(0)), p.Store64(guests.N(deadline+24), guests.N(0)))
		p.Do(set.Equals(guests.N(0), 18), wait(50).Equals(guests.N(0), 19))
	})
	start := time.Now()
	check(t, u.run(t), 0, "", "")
	if took := time.Since(start); took < time.Second || took > 20*time.Second {
		t.Errorf("a second took %v", took)
	}
}

// TestClocks has both of the guest's clocks.
func TestClocks(t *testing.T) {
	for _, clock := range []int32{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC} {
		u := probe(t, func(p *guests.Probe) {
			p.Do(p.Syscall(unix.SYS_CLOCK_GETTIME, guests.N(uint64(clock)), guests.N(guests.Scratch)).Equals(guests.N(0), 1))
			p.Do(p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(guests.Scratch), guests.N(16)))
		})
		read := func() int64 {
			var ts unix.Timespec
			if err := unix.ClockGettime(clock, &ts); err != nil {
				t.Fatal(err)
			}
			return ts.Nano()
		}
		before := read()
		r := u.run(t)
		after := read()
		if r.Status != 0 || len(r.Stdout) != 16 {
			t.Fatalf("%+v", r)
		}
		b := []byte(r.Stdout)
		now := int64(binary.LittleEndian.Uint64(b))*1e9 + int64(binary.LittleEndian.Uint64(b[8:]))
		if now < before || now > after {
			t.Errorf("clock %d: %d, between %d and %d", clock, now, before, after)
		}
	}
}

// TestThreadStorage has the base of thread-local storage.
func TestThreadStorage(t *testing.T) {
	load := []byte{0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0xc3} // mov rax, fs:0; ret
	u := probe(t, func(p *guests.Probe) {
		p.Do(p.Store64(guests.N(guests.Scratch), guests.N(0x1234)))
		p.Do(p.Syscall(unix.SYS_ARCH_PRCTL, guests.N(abi.ArchSetFS), guests.N(guests.Scratch)).Equals(guests.N(0), 1))
		p.Do(p.Execute(guests.N(p.Code(load))).Equals(guests.N(0x1234), 2))
	})
	check(t, u.run(t), 0, "", "")
	u.Strict, u.QuietFaults = true, true
	check(t, u.run(t), 159, "", "")
}

// TestManifest compares what the guest finds in its manifest with what it was
// given.
func TestManifest(t *testing.T) {
	disk := testhost.Disk(t, 1<<20)
	p := guests.NewProbe(image.SPT,
		image.Entry{Name: "net", Type: image.Net}, image.Entry{Name: "disk", Type: image.Block})
	p.Do(p.Syscall(unix.SYS_WRITE, guests.N(1), guests.Boot(bootManifest), guests.N(uint64(image.Manifest{{}, {}, {}}.Size()))))
	u := &unikernel{Image: encode(t, p), Net: []string{"net=@0"}, Block: []string{"disk=" + disk}}
	c := u.sealable(t)
	c.Image.Manifest[1].MAC = [6]byte{2, 3, 4, 5, 6, 7}
	c.Image.Manifest[1].MTU = 9000
	cmd := testhost.Command{Path: write(t, c)}
	r := cmd.Run(t)
	want := image.Manifest{
		{Type: image.Reserved},
		{Name: "net", Type: image.Net, MAC: [6]byte{2, 3, 4, 5, 6, 7}, MTU: 9000, HostFD: 0, Attached: true},
		{Name: "disk", Type: image.Block, Capacity: 1 << 20, BlockSize: 512, HostFD: 3, Attached: true},
	}
	if r.Status != 0 || r.Stdout != string(want.AppendTo(nil)) {
		t.Errorf("%+v, want %q", r, want.AppendTo(nil))
	}
}
