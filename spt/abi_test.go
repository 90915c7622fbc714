package spt

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/guest"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestTimer has a guest that waits for a deadline, as Solo5's bindings do.
func TestTimer(t *testing.T) {
	const now, deadline, event = guest.Scratch, guest.Scratch + 0x100, guest.Scratch + 0x200
	u := probe(t, func(p *guest.Probe) {
		wait := func(milliseconds uint64) guest.Step {
			return p.Syscall(unix.SYS_EPOLL_PWAIT, guest.Boot32(bootEpoll), guest.N(event), guest.N(1), guest.N(milliseconds), guest.N(0))
		}
		set := p.Syscall(unix.SYS_TIMERFD_SETTIME, guest.Boot32(bootTimer), guest.N(unix.TFD_TIMER_ABSTIME), guest.N(deadline), guest.N(0))
		p.Do(wait(0).Equals(guest.N(0), 10))
		p.Do(p.Syscall(unix.SYS_CLOCK_GETTIME, guest.N(unix.CLOCK_MONOTONIC), guest.N(now)).Equals(guest.N(0), 11))
		// In a second: the other words of struct itimerspec are zero.
		p.Do(p.Store64(guest.N(deadline+16), guest.At(now).Plus(1)))
		p.Do(p.Store64(guest.N(deadline+24), guest.At(now+8)))
		p.Do(set.Equals(guest.N(0), 12), wait(50).Equals(guest.N(0), 13))
		p.Do(wait(^uint64(0)).Equals(guest.N(1), 14))
		p.Do(p.Move(guest.At(event+4)).Equals(guest.N(timerData), 15))
		// In the past.
		p.Do(p.Store64(guest.N(deadline+16), guest.N(1)))
		p.Do(set.Equals(guest.N(0), 16), wait(^uint64(0)).Equals(guest.N(1), 17))
		// Never.
		p.Do(p.Store64(guest.N(deadline+16), guest.N(0)), p.Store64(guest.N(deadline+24), guest.N(0)))
		p.Do(set.Equals(guest.N(0), 18), wait(50).Equals(guest.N(0), 19))
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
		u := probe(t, func(p *guest.Probe) {
			p.Do(p.Syscall(unix.SYS_CLOCK_GETTIME, guest.N(uint64(clock)), guest.N(guest.Scratch)).Equals(guest.N(0), 1))
			p.Do(p.Syscall(unix.SYS_WRITE, guest.N(1), guest.N(guest.Scratch), guest.N(16)))
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
	u := probe(t, func(p *guest.Probe) {
		p.Do(p.Store64(guest.N(guest.Scratch), guest.N(0x1234)))
		p.Do(p.Syscall(unix.SYS_ARCH_PRCTL, guest.N(archSetFS), guest.N(guest.Scratch)).Equals(guest.N(0), 1))
		p.Do(p.Execute(guest.N(p.Code(load))).Equals(guest.N(0x1234), 2))
	})
	check(t, u.run(t), 0, "", "")
	u.Strict, u.QuietFaults = true, true
	check(t, u.run(t), 159, "", "")
}

// TestManifest compares what the guest finds in its manifest with what it was
// given.
func TestManifest(t *testing.T) {
	disk := testhost.Disk(t, 1<<20)
	p := guest.NewProbe(image.SPT,
		image.Entry{Name: "net", Type: image.Net}, image.Entry{Name: "disk", Type: image.Block})
	p.Do(p.Syscall(unix.SYS_WRITE, guest.N(1), guest.Boot(bootManifest), guest.N(uint64(image.Manifest{{}, {}, {}}.Size()))))
	u := &unikernel{Image: encode(t, p), Net: []string{"net=@0"}, Block: []string{"disk=" + disk}}
	c := u.sealable(t)
	c.Manifest[1].MAC = [6]byte{2, 3, 4, 5, 6, 7}
	c.Manifest[1].MTU = 9000
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
