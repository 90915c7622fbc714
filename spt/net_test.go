package spt

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// tapProbe is a guest that waits for a packet of its device and sends it back
// with its first eight bytes changed.
func tapProbe(t *testing.T, attachment string) *unikernel {
	t.Helper()
	p := guests.NewProbe(image.SPT, image.Entry{Name: "net", Type: image.Net})
	p.Do(p.Syscall(unix.SYS_READ, hostFD(1), guests.N(guests.Scratch), guests.N(2000)).Equals(guests.Errno(uint64(unix.EAGAIN)), 9))
	p.Do(p.Puts(alive))
	p.Do(p.Syscall(unix.SYS_EPOLL_PWAIT, guests.Boot32(bootEpoll), guests.N(guests.Scratch), guests.N(1), guests.N(^uint64(0))).Equals(guests.N(1), 10))
	p.Do(p.Move(guests.At(guests.Scratch+4)).Equals(guests.N(1), 11))
	p.Do(p.Syscall(unix.SYS_READ, hostFD(1), guests.N(guests.Scratch), guests.N(2000)).Equals(guests.N(frameSize), 12))
	p.Do(p.Store64(guests.N(guests.Scratch), guests.N(0x0202020202020202)))
	p.Do(p.Syscall(unix.SYS_WRITE, hostFD(1), guests.N(guests.Scratch), guests.N(frameSize)).Equals(guests.N(frameSize), 13))
	return &unikernel{Image: encode(t, p), Net: []string{"net=" + attachment}}
}

const (
	frameSize = 1000
	etherType = 0x88b5 // IEEE 802 local experimental
)

// packetSocket receives and sends the frames of an interface.
func packetSocket(t *testing.T, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	const networkOrder = etherType>>8 | etherType&0xff<<8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, networkOrder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder, Ifindex: i.Index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestTap has a guest on a tap, which a sealed one opens itself, and on an
// inherited descriptor of one.
func TestTap(t *testing.T) {
	testhost.Netns(t)
	const name = "tap0"
	testhost.Tap(t, name, unix.IFF_TAP|unix.IFF_NO_PI)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	testhost.Up(t, name, 1500)
	fd := packetSocket(t, name)
	for way, c := range map[string]*testhost.Command{
		"sealed":               {Path: tapProbe(t, name).seal(t)},
		"run":                  tapProbe(t, name).command(t),
		"sealed, a descriptor": {Path: tapProbe(t, "@3").seal(t)},
	} {
		stdout, stderr := testhost.Memfd(t), testhost.Memfd(t)
		c.Files = []*os.File{testhost.Null(t), stdout, stderr}
		var tap *os.File
		if way == "sealed, a descriptor" {
			tap = os.NewFile(uintptr(testhost.OpenTap(t, name, unix.IFF_TAP|unix.IFF_NO_PI)), name)
			c.Files = append(c.Files, tap)
		}
		p := c.Start(t)
		for testhost.Contents(t, stdout) == "" && p.Running() {
		}
		frame := append(bytes.Repeat([]byte{0xff}, 12), etherType>>8, etherType&0xff)
		frame = append(frame, testhost.Random(frameSize-len(frame))...)
		// Until the kernel has noticed that the tap is in use, it drops frames.
		for ; p.Running(); time.Sleep(time.Millisecond) {
			if _, err := unix.Write(fd, frame); err != nil {
				t.Fatal(err)
			}
		}
		status := p.Wait()
		if status != 0 {
			t.Errorf("%s: status %#x, stdout %q, stderr %q", way, status, testhost.Contents(t, stdout), testhost.Contents(t, stderr))
			continue
		}
		tap.Close()
		got := make([]byte, 2000)
		n := 0
		var err error
		for {
			var from unix.Sockaddr
			n, from, err = unix.Recvfrom(fd, got, unix.MSG_DONTWAIT)
			if err != nil {
				t.Fatalf("%s: %v", way, err)
			}
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
				break
			}
		}
		copy(frame, "\x02\x02\x02\x02\x02\x02\x02\x02")
		if !bytes.Equal(got[:n], frame) {
			t.Errorf("%s: got % x, want % x", way, got[:n], frame)
		}
	}
}

// TestTapMissing has sealed guests whose interface is not there, or not theirs.
func TestTapMissing(t *testing.T) {
	testhost.Netns(t)
	testhost.Tap(t, "tun0", unix.IFF_TUN|unix.IFF_NO_PI)
	testhost.Tap(t, "tap1", unix.IFF_TAP|unix.IFF_NO_PI)
	busy := testhost.OpenTap(t, "tap1", unix.IFF_TAP|unix.IFF_NO_PI)
	defer unix.Close(busy)
	for name, want := range map[string]string{
		"tap9": "there is no interface tap9: no such device",
		"lo":   "could not attach interface lo: invalid argument",
		"tun0": "could not attach interface tun0: invalid argument",
		"tap1": "could not attach interface tap1: device or resource busy",
	} {
		c := testhost.Command{Path: tapProbe(t, name).seal(t)}
		check(t, c.Run(t), 1, "", fmt.Sprintf("gocat: network device 'net': %s\n", want))
	}
}
