package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Guests of one network reach each other by the address that DNS has, and those
// of another network not.
func TestNeighbours(t *testing.T) {
	n := testNetwork(t, "user", nil)
	web, db := join(t, n, 1, "web").boot(), join(t, n, 2, "db").boot()
	other := join(t, testNetwork(t, "user", nil), 3, "db").boot(db.addr)
	go echo(db.listen(5432))
	go echo(other.listen(5432))
	addresses, ok := n.lookup("db")
	if !ok || addresses[0] != netip.MustParseAddr("10.0.2.101") {
		t.Fatalf("db is %v", addresses)
	}
	c, err := web.dial(netip.AddrPortFrom(addresses[0], 5432))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := roundTrip(c, bytes.Repeat([]byte("neighbour "), 100_000)); err != nil || len(got) != 1_000_000 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	db.leave()
	<-db.Done
	if _, ok := n.lookup("db"); ok || n.Guests() != 1 {
		t.Error("db has left and is still there")
	}
}

// Names are told apart, addresses given again when they are free.
func TestJoin(t *testing.T) {
	n := testNetwork(t, "user,net=192.168.7.0/29", nil)
	var all []*peer
	for i, want := range []string{"web 192.168.7.4", "web-2 192.168.7.5", "web-3 192.168.7.6"} {
		p := join(t, n, byte(i), "web")
		if got := p.Joined.Name + " " + p.IPv4.String(); got != want {
			t.Errorf("guest %d is %s, want %s", i, got, want)
		}
		all = append(all, p)
	}
	theirs, fd := socketpair(t)
	defer unix.Close(fd)
	if j, err := n.Join(Guest{Name: "web", MAC: macOf(9), Frames: theirs}); err == nil {
		t.Errorf("one more guest got %v", j.IPv4)
	}
	all[1].leave()
	<-all[1].Done
	if p := join(t, n, 9, "web"); p.IPv4 != all[1].IPv4 || p.Joined.Name != "web-2" {
		t.Errorf("%s %v", p.Joined.Name, p.IPv4)
	}
	theirs, fd = socketpair(t)
	defer unix.Close(fd)
	if _, err := n.Join(Guest{Name: "x", MAC: macOf(9), Frames: theirs}); err == nil {
		t.Error("two guests with one MAC address")
	}
}

// arp is an ARP message of a guest's.
func arpFrame(mac [6]byte, op uint16, sender, target netip.Addr) []byte {
	b := append(append(append([]byte{}, broadcast[:]...), mac[:]...), 8, 6, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, mac[:]...), sender.AsSlice()...)
	return append(append(b, 0, 0, 0, 0, 0, 0), target.AsSlice()...)
}

func isARP(op byte, sender netip.Addr) func([]byte) bool {
	return func(b []byte) bool {
		return len(b) >= 42 && b[12] == 8 && b[13] == 6 && b[21] == op && bytes.Equal(b[28:32], sender.AsSlice())
	}
}

// The gateway answers for itself alone, guests for themselves.
func TestARP(t *testing.T) {
	n := testNetwork(t, "user", nil)
	p := join(t, n, 1, "web")
	for a, want := range map[netip.Addr]bool{
		n.opt.Gateway4(): true, n.opt.DNS4(): true, netip.MustParseAddr("10.0.2.50"): false, netip.MustParseAddr("192.0.2.1"): false,
	} {
		p.write(arpFrame(p.mac, 1, p.IPv4, a))
		wait := 300 * time.Millisecond
		if want {
			wait = 20 * time.Second
		}
		if got := p.read(wait, isARP(2, a)); (got != nil) != want {
			t.Errorf("answer for %v: %x", a, got)
		}
	}
}

// dhcp makes the frame of a DHCP message.
func dhcp(p *peer, m *dhcpv4.DHCPv4) []byte {
	payload := m.ToBytes()
	b := make([]byte, 14+20+8)
	copy(b, broadcast[:])
	copy(b[6:], p.mac[:])
	b[12] = 8
	ip := header.IPv4(b[14:])
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(28 + len(payload)), TTL: 64, Protocol: 17, DstAddr: address(everybody)})
	ip.SetChecksum(^ip.CalculateChecksum())
	header.UDP(b[34:]).Encode(&header.UDPFields{SrcPort: dhcpClient, DstPort: dhcpServer, Length: uint16(8 + len(payload))})
	return append(b, payload...)
}

// lease reads the answer to a DHCP message.
func (p *peer) lease(m *dhcpv4.DHCPv4, wait time.Duration) *dhcpv4.DHCPv4 {
	p.write(dhcp(p, m))
	b := p.read(wait, func(b []byte) bool {
		return len(b) > 42 && b[12] == 8 && b[13] == 0 && b[23] == 17 && b[37] == dhcpClient
	})
	if b == nil {
		return nil
	}
	ip := header.IPv4(b[14:])
	if !ip.IsValid(len(b)-14) || !ip.IsChecksumValid() {
		p.Errorf("answer with a bad header: %x", b)
	}
	r, err := dhcpv4.FromBytes(b[42:])
	if err != nil {
		p.Fatal(err)
	}
	return r
}

func TestDHCP(t *testing.T) {
	n := testNetwork(t, "user,net=192.168.9.0/24,mtu=9000", nil)
	join(t, n, 1, "first")
	p := join(t, n, 2, "web")
	discover, err := dhcpv4.NewDiscovery(p.mac[:])
	if err != nil {
		t.Fatal(err)
	}
	offer := p.lease(discover, 20*time.Second)
	if offer == nil || offer.MessageType() != dhcpv4.MessageTypeOffer || offer.YourIPAddr.String() != "192.168.9.101" {
		t.Fatalf("offer %v", offer)
	}
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	ack := p.lease(request, 20*time.Second)
	if ack == nil || ack.MessageType() != dhcpv4.MessageTypeAck || ack.YourIPAddr.String() != "192.168.9.101" ||
		ack.Router()[0].String() != "192.168.9.2" || ack.DNS()[0].String() != "192.168.9.3" || ack.HostName() != "web" ||
		ack.SubnetMask().String() != "ffffff00" || ack.IPAddressLeaseTime(0) != lease ||
		binary.BigEndian.Uint16(ack.Options.Get(dhcpv4.OptionInterfaceMTU)) != 9000 {
		t.Errorf("acknowledgement %v", ack)
	}
	request.UpdateOption(dhcpv4.OptRequestedIPAddress([]byte{192, 168, 9, 100}))
	if r := p.lease(request, 20*time.Second); r == nil || r.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("for another's address: %v", r)
	}
	request.UpdateOption(dhcpv4.OptServerIdentifier([]byte{192, 168, 9, 7}))
	if r := p.lease(request, 300*time.Millisecond); r != nil {
		t.Errorf("for another server: %v", r)
	}
}

// A guest finds its prefix, name server and way out by a router advertisement.
func TestRouterAdvertisement(t *testing.T) {
	for _, out := range []bool{false, true} {
		n := testNetwork(t, "user,net=fd12:3456::/64", func(o *Options) { o.Route6 = out })
		p := join(t, n, 1, "web")
		solicit := append([]byte{0x33, 0x33, 0, 0, 0, 2}, p.mac[:]...)
		solicit = append(solicit, 0x86, 0xdd)
		ip := header.IPv6(make([]byte, 40))
		ip.Encode(&header.IPv6Fields{PayloadLength: 8, TransportProtocol: 58, HopLimit: 255,
			SrcAddr: address(netip.IPv6Unspecified()), DstAddr: address(netip.MustParseAddr("ff02::2"))})
		p.write(append(append(solicit, ip...), 133, 0, 0, 0, 0, 0, 0, 0))
		b := p.read(20*time.Second, func(b []byte) bool { return len(b) > 70 && b[12] == 0x86 && b[54] == 134 })
		if b == nil {
			t.Fatal("no advertisement")
		}
		ip = header.IPv6(b[14:])
		h := header.ICMPv6(ip.Payload())
		if want := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: append(header.ICMPv6{}, h...), Src: ip.SourceAddress(), Dst: ip.DestinationAddress()}); h.Checksum() != want || ip.HopLimit() != 255 {
			t.Errorf("checksum %x, want %x; hop limit %d", h.Checksum(), want, ip.HopLimit())
		}
		ra := header.NDPRouterAdvert(h[4:])
		if (ra.RouterLifetime() > 0) != out {
			t.Errorf("router lifetime %v with a way out %v", ra.RouterLifetime(), out)
		}
		it, err := ra.Options().Iter(true)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for {
			o, done, err := it.Next()
			if err != nil {
				t.Fatal(err)
			}
			if done {
				break
			}
			switch o := o.(type) {
			case header.NDPPrefixInformation:
				if s := o.Subnet(); s.String() == "fd12:3456::/64" && o.AutonomousAddressConfigurationFlag() {
					found++
				}
			case header.NDPRecursiveDNSServer:
				if a, err := o.Addresses(); err == nil && a[0] == address(netip.MustParseAddr("fd12:3456::3")) {
					found++
				}
			}
		}
		if found != 2 {
			t.Errorf("%d of prefix and name server in %x", found, b)
		}
	}
}

// The guest reaches the host by IPv6 too, and its neighbours.
func TestIPv6(t *testing.T) {
	n := testNetwork(t, "user", nil)
	a := join(t, n, 1, "a").boot(netip.MustParseAddr("fd00::a"))
	b := join(t, n, 2, "b").boot(netip.MustParseAddr("fd00::b"))
	go echo(b.listen(80))
	for range 2 {
		c, err := a.dial(netip.AddrPortFrom(b.addr, 80))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := roundTrip(c, []byte("six")); err != nil || string(got) != "six" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if c, err := a.dial(netip.AddrPortFrom(n.opt.DNS6(), 53)); err != nil {
		t.Errorf("the name server: %v", err)
	} else {
		c.Close()
	}
	if got, _ := n.lookup("a"); len(got) != 2 || got[1] != a.addr {
		t.Errorf("a is %v", got)
	}
}

// A guest that does not read loses frames, no more, and others go on.
func TestGuestThatDoesNotRead(t *testing.T) {
	n := testNetwork(t, "user", nil)
	deaf, talks := join(t, n, 1, "deaf"), join(t, n, 2, "talks")
	frame := append(append(append([]byte{}, deaf.mac[:]...), talks.mac[:]...), 8, 0)
	ip := header.IPv4(make([]byte, 20))
	ip.Encode(&header.IPv4Fields{TotalLength: 60020, TTL: 64, Protocol: 17, SrcAddr: address(talks.IPv4), DstAddr: address(deaf.IPv4)})
	frame = append(append(frame, ip...), make([]byte, 60000)...)
	for range 600 {
		talks.write(frame)
	}
	eventually(t, "frames are lost", func() bool { return deaf.port.dropped.Load() > 10 })
	deaf.port.queue.Lock()
	if deaf.port.queue.bytes > maxQueue {
		t.Errorf("%d bytes wait", deaf.port.queue.bytes)
	}
	deaf.port.queue.Unlock()
	talks.write(arpFrame(talks.mac, 1, talks.IPv4, n.opt.Gateway4()))
	if talks.read(20*time.Second, isARP(2, n.opt.Gateway4())) == nil {
		t.Error("no answer")
	}
	// The gateway's answer had room beside what the neighbour sent.
	deaf.write(arpFrame(deaf.mac, 1, deaf.IPv4, n.opt.Gateway4()))
	if deaf.read(20*time.Second, isARP(2, n.opt.Gateway4())) == nil {
		t.Error("no answer for the one that did not read")
	}
}

// Broadcasts of a guest's leave room for the gateway's frames in all queues.
func TestBroadcastFlood(t *testing.T) {
	n := testNetwork(t, "user", nil)
	good, bad := join(t, n, 1, "good"), join(t, n, 2, "bad")
	eventually(t, "broadcasts are lost", func() bool {
		for range 1000 {
			bad.write(arpFrame(bad.mac, 1, bad.IPv4, good.IPv4))
		}
		return good.port.dropped.Load() > 0
	})
	good.write(arpFrame(good.mac, 1, good.IPv4, n.opt.Gateway4()))
	if good.read(20*time.Second, isARP(2, n.opt.Gateway4())) == nil {
		t.Error("no answer")
	}
}

// Empty packets, which look like an end, and frames that are too long are none.
func TestOddFrames(t *testing.T) {
	n := testNetwork(t, "user,mtu=1500", nil)
	p := join(t, n, 1, "web")
	for _, f := range [][]byte{{}, {1}, make([]byte, 13), make([]byte, 14), make([]byte, 1515), make([]byte, 60000), {}} {
		p.write(f)
	}
	p.write(arpFrame(p.mac, 1, p.IPv4, n.opt.Gateway4()))
	if p.read(20*time.Second, isARP(2, n.opt.Gateway4())) == nil {
		t.Error("no answer")
	}
	if got := p.port.dropped.Load(); got != 7 {
		t.Errorf("%d frames dropped, want 7", got)
	}
}
