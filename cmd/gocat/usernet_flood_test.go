package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/usernet"
)

// bareGuest is the guest's end of a user network without a guest: frames go in and
// come out as the test likes.
type bareGuest struct {
	fd  int
	mac [6]byte
	ip  [4]byte
}

// joinUserNetwork makes or joins a user network.
func joinUserNetwork(t *testing.T, number byte, spec string, publish ...string) *bareGuest {
	t.Helper()
	g, r := tryUserNetwork(t, number, call.run, usernet.Request{Spec: spec, Publish: publish})
	if g == nil {
		t.Fatalf("gocat-net start: %+v", r)
	}
	return g
}

// tryUserNetwork has run start gocat-net, and returns no guest if there is no network.
func tryUserNetwork(t *testing.T, number byte, run func(call, testing.TB) result, r usernet.Request) (*bareGuest, result) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]) })
	theirs := os.NewFile(uintptr(pair[1]), "frames")
	defer theirs.Close()
	ready, readyIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	g := &bareGuest{fd: pair[0], mac: [6]byte{2, 0, 0, 0, 1, number}, ip: [4]byte{10, 0, 2, 99 + number}}
	r.Device, r.Guest, r.MAC = "net", "bare", g.mac
	c := call{program: filepath.Join(filepath.Dir(program), "gocat-net"), args: r.Args()[1:], extra: []*os.File{theirs, readyIn}}
	got := run(c, t)
	readyIn.Close()
	if n, _ := ready.Read(make([]byte, 1)); n != 1 {
		return nil, got
	}
	return g, got
}

var gatewayMAC = [6]byte{2, 'g', 'o', 'c', 'a', 't'}

func (g *bareGuest) frame(to [6]byte, typ uint16, payload ...byte) []byte {
	b := append(append(append([]byte{}, to[:]...), g.mac[:]...), byte(typ>>8), byte(typ))
	return append(b, payload...)
}

func (g *bareGuest) arp(op byte, sender, target [4]byte) []byte {
	b := append([]byte{0, 1, 8, 0, 6, 4, 0, op}, g.mac[:]...)
	b = append(append(b, sender[:]...), 0, 0, 0, 0, 0, 0)
	return g.frame([6]byte{255, 255, 255, 255, 255, 255}, 0x0806, append(b, target[:]...)...)
}

// ipv4 is a packet to the gateway's MAC address; flags has offset and flags of a fragment.
func (g *bareGuest) ipv4(protocol byte, to [4]byte, id, flags uint16, payload []byte) []byte {
	b := []byte{0x45, 0}
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = binary.BigEndian.AppendUint16(b, id)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(b, 64, protocol, 0, 0)
	b = append(append(b, g.ip[:]...), to[:]...)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	return g.frame(gatewayMAC, 0x0800, append(b, payload...)...)
}

func udpDatagram(from, to uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

// answers reports whether the gateway still answers the guest.
func (g *bareGuest) answers() bool {
	b := make([]byte, 1<<16)
	unix.Write(g.fd, g.arp(1, g.ip, [4]byte{10, 0, 2, 2}))
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		n, err := unix.Read(g.fd, b)
		if err == unix.EAGAIN {
			unix.Poll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}, 1000)
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		if n >= 42 && binary.BigEndian.Uint16(b[12:]) == 0x0806 && b[21] == 2 && [4]byte(b[28:32]) == [4]byte{10, 0, 2, 2} {
			return true
		}
	}
	return false
}

// TestUserNetworkFloods has a guest, and the host's side of a published port, send
// all that they can of one kind after the other. Memory stays bounded and a
// neighbour is served. GOCAT_FLOOD says for how long.
func TestUserNetworkFloods(t *testing.T) {
	length := 4 * time.Second
	if s := os.Getenv("GOCAT_FLOOD"); s != "" {
		var err error
		if length, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	hostPort := host.Addr().(*net.TCPAddr).Port
	before := serving(t)
	spec := fmt.Sprintf("user,outbound=127.0.0.1,network=flood%d", os.Getpid())
	port := freePort(t)
	bad := joinUserNetwork(t, 1, spec, fmt.Sprintf("%d:80", port), fmt.Sprintf("%d:80/udp", port))
	good := joinUserNetwork(t, 2, spec)
	network := 0
	for pid := range serving(t) {
		if !before[pid] {
			network = pid
		}
	}
	gateway, dns := [4]byte{10, 0, 2, 2}, [4]byte{10, 0, 2, 3}
	large := make([]byte, 60000)
	target := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port)).String()
	floods := []struct {
		name string
		send func(i uint16)
	}{
		{"ARP", func(i uint16) {
			bad.write(bad.arp(1, [4]byte{10, 0, 2, byte(i)}, [4]byte{10, 0, byte(i >> 8), byte(i)}))
		}},
		{"SYN", func(i uint16) {
			b := binary.BigEndian.AppendUint16(nil, i)
			b = binary.BigEndian.AppendUint16(b, uint16(hostPort))
			bad.write(bad.ipv4(6, gateway, i, 0, append(b, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 255, 255, 0, 0, 0, 0)))
		}},
		{"fragments", func(i uint16) { bad.write(bad.ipv4(17, gateway, i, 0x2000, large)) }},
		{"UDP", func(i uint16) { bad.write(bad.ipv4(17, gateway, i, 0, udpDatagram(i, 9, large[:1000]))) }},
		{"DHCP", func(i uint16) {
			b := make([]byte, 244)
			copy(b, []byte{1, 1, 6, 0, byte(i >> 8), byte(i)})
			copy(b[28:], bad.mac[:])
			copy(b[236:], []byte{99, 130, 83, 99, 53, 1, 1, 255})
			bad.write(bad.ipv4(17, [4]byte{255, 255, 255, 255}, i, 0, udpDatagram(68, 67, b)))
		}},
		{"DNS", func(i uint16) {
			b := binary.BigEndian.AppendUint16(nil, i)
			b = append(b, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4, 'n', 'o', 'n', 'e', 8, 'i', 'n', 't', 'e', 'r', 'n', 'a', 'l', 0, 0, 1, 0, 1)
			bad.write(bad.ipv4(17, dns, i, 0, udpDatagram(i, 53, b)))
		}},
		{"pings", func(i uint16) {
			bad.write(bad.ipv4(1, [4]byte{127, 0, 0, 1}, i, 0, []byte{8, 0, 0, 0, 0, 1, byte(i >> 8), byte(i)}))
		}},
		{"random frames", func(i uint16) {
			b := make([]byte, 14+rand.IntN(200))
			for i := range b {
				b[i] = byte(rand.Uint32())
			}
			bad.write(bad.frame(gatewayMAC, [4]uint16{0x0800, 0x86dd, 0x0806, 0x8100}[i%4], b...))
		}},
		{"published connections", func(uint16) {
			if c, err := net.DialTimeout("tcp", target, time.Second); err == nil {
				c.(*net.TCPConn).SetLinger(0)
				c.Close()
			}
		}},
		{"published datagrams", func(uint16) {
			if c, err := net.Dial("udp", target); err == nil {
				c.Write(large[:1000])
				c.Close()
			}
		}},
	}
	most := 0
	for _, f := range floods {
		end := time.Now().Add(length / time.Duration(len(floods)))
		count := uint16(0)
		for next := time.Now(); time.Now().Before(end); count++ {
			f.send(count)
			if count%8 == 0 {
				bad.drain()
			}
			if time.Now().After(next) {
				if !good.answers() {
					t.Fatalf("%s: the neighbour is not served", f.name)
				}
				most = max(most, resident(t, network))
				next = time.Now().Add(500 * time.Millisecond)
			}
		}
	}
	t.Logf("at most %d MB resident", most>>10)
	if most > 300<<10 {
		t.Errorf("%d KB resident", most)
	}
	if !bad.answers() {
		t.Error("the guest itself is not served any more")
	}
}

// write sends a frame or, while the gateway is behind, none.
func (g *bareGuest) write(frame []byte) {
	if _, err := unix.Write(g.fd, frame); err == unix.EAGAIN {
		unix.Poll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLOUT}}, 100)
	}
}

// drain reads what has come.
func (g *bareGuest) drain() {
	b := make([]byte, 1<<16)
	for {
		if n, err := unix.Read(g.fd, b); err != nil || n == 0 {
			return
		}
	}
}

// resident is how much memory a process has, in KB.
func resident(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nVmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
