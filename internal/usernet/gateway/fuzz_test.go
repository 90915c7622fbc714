package gateway

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// FuzzFrames has a guest send frames, each after its length in two bytes, from its
// own MAC address so that they get somewhere. Whatever it sends, its neighbour gets
// nothing that is not from the guest's own addresses, and the gateway still answers.
func FuzzFrames(f *testing.F) {
	own := macOf(1)
	add := func(frames ...[]byte) {
		var b []byte
		for _, frame := range frames {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(frame))), frame...)
		}
		f.Add(b)
	}
	guest, gateway := netip.MustParseAddr("10.0.2.100"), netip.MustParseAddr("10.0.2.2")
	add(arpFrame(own, 1, guest, gateway), arpFrame(own, 2, guest, guest))
	ip := func(protocol byte, dst netip.Addr, payload ...byte) []byte {
		b := append(append(append([]byte{}, MAC[:]...), own[:]...), 8, 0, 0x45, 0, 0, byte(20+len(payload)), 0, 1, 0, 0, 64, protocol, 0, 0)
		return append(append(append(b, guest.AsSlice()...), dst.AsSlice()...), payload...)
	}
	add(ip(1, gateway, 8, 0, 0xf7, 0xff, 0, 0, 0, 0), ip(17, netip.MustParseAddr("10.0.2.3"), 0, 9, 0, 53, 0, 8, 0, 0))
	add(ip(6, gateway, 0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 255, 255, 0, 0, 0, 0))
	add(ip(6, netip.MustParseAddr("10.0.2.101"), 0, 80, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 255, 255, 0, 0, 0, 0))
	add(append(append(append([]byte{0x33, 0x33, 0, 0, 0, 2}, own[:]...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255),
		append(append(netip.IPv6Unspecified().AsSlice(), netip.MustParseAddr("ff02::2").AsSlice()...), 133, 0, 0, 0, 0, 0, 0, 0)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := testNetwork(t, "user,outbound=none,mtu=1500", nil)
		bad, good := join(t, n, 1, "bad"), join(t, n, 2, "good")
		for len(b) >= 2 {
			length := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			frame := append([]byte{}, b[2:2+length]...)
			b = b[2+length:]
			if len(frame) >= 12 {
				copy(frame[6:], bad.mac[:])
			}
			bad.write(frame)
		}
		bad.write(arpFrame(bad.mac, 1, bad.IPv4, n.opt.Gateway4()))
		if bad.read(20*time.Second, isARP(2, n.opt.Gateway4())) == nil {
			t.Fatal("the gateway does not answer any more")
		}
		bad.write(arpFrame(bad.mac, 2, bad.IPv4, good.IPv4)) // the last
		if good.read(20*time.Second, func(b []byte) bool {
			from := [6]byte(b[6:12])
			if from != bad.mac && from != MAC {
				t.Errorf("a frame from %x", from)
			}
			if from == bad.mac && b[12] == 8 && b[13] == 0 {
				if a, _ := netip.AddrFromSlice(b[26:30]); n.isOwn(a) || a == good.IPv4 || !n.inside(a) {
					t.Errorf("a packet from %v", a)
				}
			}
			return isARP(2, bad.IPv4)(b)
		}) == nil {
			t.Fatal("the neighbour gets nothing any more")
		}
		if got := len(bad.port.addresses()); got > 2*maxAddresses+2 {
			t.Errorf("%d addresses", got)
		}
	})
}

// FuzzDHCP has a guest send DHCP messages. What is answered offers or confirms the
// guest's own address, or none, to the guest's own MAC address.
func FuzzDHCP(f *testing.F) {
	mac := macOf(1)
	discover, err := dhcpv4.NewDiscovery(mac[:])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(discover.ToBytes())
	inform, err := dhcpv4.NewInform(mac[:], []byte{10, 0, 2, 100})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(inform.ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		n := testNetwork(t, "user", nil)
		p := join(t, n, 1, "web")
		if len(b) >= 34 {
			copy(b[28:], p.mac[:])
		}
		p.port.inputDHCP(b)
		answer := make([]byte, 2000)
		k, err := unix.Read(p.fd, answer)
		if err == unix.EAGAIN {
			return
		}
		if err != nil || k < 42 {
			t.Fatalf("%d bytes, %v", k, err)
		}
		r, err := dhcpv4.FromBytes(answer[42:k])
		if err != nil {
			t.Fatalf("an answer that is none: %v", err)
		}
		yours, _ := netip.AddrFromSlice(r.YourIPAddr.To4())
		if r.OpCode != dhcpv4.OpcodeBootReply || yours != p.IPv4 && !yours.IsUnspecified() || string(r.ClientHWAddr) != string(p.mac[:]) {
			t.Errorf("answer %v", r)
		}
	})
}

// FuzzDNS has a guest ask, without name servers: what is answered is an answer to
// that query, and has only the network's own addresses.
func FuzzDNS(f *testing.F) {
	f.Add(query(f, "web.", dnsmessage.TypeA))
	f.Add(query(f, "web.internal.", dnsmessage.TypeAAAA))
	f.Add(query(f, "example.com.", dnsmessage.TypeMX))
	n := testNetwork(f, "user", nil)
	p := join(f, n, 1, "web")
	f.Fuzz(func(t *testing.T, b []byte) {
		answer := p.port.resolve(b, "udp")
		if answer == nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("an answer that is none: %v", err)
		}
		if !m.Response || len(b) < 2 || m.ID != binary.BigEndian.Uint16(b) {
			t.Errorf("answer %+v", m.Header)
		}
		for _, a := range m.Answers {
			if r, ok := a.Body.(*dnsmessage.AResource); ok && !n.inside(netip.AddrFrom4(r.A)) {
				t.Errorf("answer %v", r)
			}
		}
	})
}
