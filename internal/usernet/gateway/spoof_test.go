package gateway

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// ip4Frame is a packet of a guest's; flags has flags and offset of a fragment.
func ip4Frame(mac, to [6]byte, protocol byte, from, dst netip.Addr, flags uint16, payload ...byte) []byte {
	ip := header.IPv4(make([]byte, header.IPv4MinimumSize))
	ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip) + len(payload)), TTL: 64, Protocol: protocol,
		SrcAddr: address(from), DstAddr: address(dst)})
	binary.BigEndian.PutUint16(ip[6:], flags)
	ip.SetChecksum(^ip.CalculateChecksum())
	b := append(append(append([]byte{}, to[:]...), mac[:]...), 8, 0)
	return append(append(b, ip...), payload...)
}

func ip6Frame(mac, to [6]byte, next byte, from, dst netip.Addr, payload ...byte) []byte {
	b := append(append(append([]byte{}, to[:]...), mac[:]...), 0x86, 0xdd, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(append(append(b, next, 255), from.AsSlice()...), dst.AsSlice()...)
	return append(b, payload...)
}

// neighbor is a neighbour solicitation or advertisement with an option.
func neighbor(typ byte, target netip.Addr, option byte, mac [6]byte) []byte {
	b := append([]byte{typ, 0, 0, 0, 0x60, 0, 0, 0}, target.AsSlice()...)
	if option == 0 {
		return b
	}
	return append(append(b, option, 1), mac[:]...)
}

// linkLocal is the address that a guest makes of its MAC address.
func (p *peer) linkLocal() netip.Addr {
	m := p.mac
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

const icmp6, udpNumber, fragment6 = 58, 17, 44

// A guest may neither take others' addresses nor speak for the gateway, by whatever
// protocol it tries.
func TestSpoofing(t *testing.T) {
	n := testNetwork(t, "user", nil)
	good, bad := join(t, n, 1, "good"), join(t, n, 2, "bad")
	more := netip.MustParseAddr("10.0.2.50")
	good6 := netip.MustParseAddr("fd00::50")
	good.write(arpFrame(good.mac, 1, more, n.opt.Gateway4())) // uses one more
	if good.read(20*time.Second, isARP(2, n.opt.Gateway4())) == nil {
		t.Fatal("no answer")
	}
	unspecified, nodes := netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1")
	good.write(ip6Frame(good.mac, broadcast, icmp6, unspecified, nodes, neighbor(135, good6, 0, MAC)...))
	eventually(t, "the address is the guest's", func() bool { return n.portOf(good6) == good.port })

	ll := bad.linkLocal()
	to4 := func(protocol byte, flags uint16, b ...byte) []byte {
		return ip4Frame(bad.mac, good.mac, protocol, bad.IPv4, good.IPv4, flags, b...)
	}
	to6 := func(next byte, b ...byte) []byte { return ip6Frame(bad.mac, good.mac, next, ll, nodes, b...) }
	advert := append([]byte{134, 0, 0, 0, 64, 0, 1, 0}, make([]byte, 8)...)
	pieces := func(next byte, offset uint16, b ...byte) []byte {
		return to6(fragment6, append([]byte{next, 0, byte(offset >> 8), byte(offset) | 1, 0, 0, 0, 1}, b...)...)
	}
	behind := func(next byte, b []byte) []byte { return append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, b...) }
	datagram := func(from, to uint16) []byte {
		b := binary.BigEndian.AppendUint16(nil, from)
		return append(binary.BigEndian.AppendUint16(b, to), 0, 8, 0, 0)
	}
	frames := map[string][]byte{
		"MAC address":                   arpFrame(good.mac, 2, good.IPv4, good.IPv4),
		"gateway's MAC address":         arpFrame(MAC, 2, n.opt.Gateway4(), good.IPv4),
		"ARP":                           arpFrame(bad.mac, 2, good.IPv4, good.IPv4),
		"ARP, other address":            arpFrame(bad.mac, 2, more, good.IPv4),
		"ARP, gateway":                  arpFrame(bad.mac, 2, n.opt.Gateway4(), good.IPv4),
		"ARP, name server":              arpFrame(bad.mac, 2, n.opt.DNS4(), good.IPv4),
		"ARP, broadcast":                arpFrame(bad.mac, 2, n.opt.Broadcast4(), good.IPv4),
		"ARP, outside":                  arpFrame(bad.mac, 2, netip.MustParseAddr("192.0.2.1"), good.IPv4),
		"VLAN":                          append(append(append(append([]byte{}, good.mac[:]...), bad.mac[:]...), 0x81, 0, 0, 1), arpFrame(bad.mac, 2, good.IPv4, good.IPv4)[12:]...),
		"IPv4":                          ip4Frame(bad.mac, good.mac, udpNumber, more, good.IPv4, 0, datagram(1, 2)...),
		"IPv4, gateway":                 ip4Frame(bad.mac, good.mac, udpNumber, n.opt.DNS4(), good.IPv4, 0, datagram(53, 2)...),
		"IPv4, outside":                 ip4Frame(bad.mac, good.mac, udpNumber, netip.MustParseAddr("192.0.2.1"), good.IPv4, 0, datagram(1, 2)...),
		"DHCP server":                   to4(udpNumber, 0, datagram(dhcpServer, dhcpClient)...),
		"DHCP server, any port":         to4(udpNumber, 0, datagram(1, dhcpClient)...),
		"DHCP server, fragment":         to4(udpNumber, 0x2000, datagram(dhcpServer, dhcpClient)...),
		"DHCP server, short fragment":   to4(udpNumber, 0x2000, 0, dhcpServer, 0),
		"ICMP redirect":                 to4(1, 0, 5, 1, 0, 0, 10, 0, 2, 101, 0, 0, 0, 0),
		"ICMP router":                   to4(1, 0, 9, 0, 0, 0, 1, 2, 1, 0),
		"IPv6":                          ip6Frame(bad.mac, good.mac, udpNumber, good6, good.linkLocal(), datagram(1, 2)...),
		"IPv6, gateway":                 ip6Frame(bad.mac, good.mac, udpNumber, LinkLocal, good.linkLocal(), datagram(1, 2)...),
		"IPv6, name server":             ip6Frame(bad.mac, good.mac, udpNumber, n.opt.DNS6(), good6, datagram(53, 2)...),
		"IPv6, before the other has it": ip6Frame(bad.mac, good.mac, udpNumber, good.linkLocal(), good6, datagram(1, 2)...),
		"advertisement":                 to6(icmp6, neighbor(136, good6, 2, bad.mac)...),
		"advertisement, gateway":        to6(icmp6, neighbor(136, LinkLocal, 2, bad.mac)...),
		"advertisement, name server":    to6(icmp6, neighbor(136, n.opt.DNS6(), 2, bad.mac)...),
		"advertisement, outside":        to6(icmp6, neighbor(136, netip.MustParseAddr("2001:db8::1"), 2, bad.mac)...),
		"advertisement, other MAC":      to6(icmp6, neighbor(136, ll, 2, good.mac)...),
		"solicitation, other MAC":       to6(icmp6, neighbor(135, good6, 1, MAC)...),
		"solicitation, bad option":      to6(icmp6, append(neighbor(135, good6, 1, bad.mac), 1, 0, 0, 0, 0, 0, 0, 0)...),
		"advertisement, short":          to6(icmp6, neighbor(136, ll, 0, MAC)[:23]...),
		"router":                        to6(icmp6, advert...),
		"router, fragment":              pieces(icmp6, 0, advert...),
		"router, second header":         pieces(60, 0, behind(icmp6, advert)...),
		"router, fragment in fragment":  pieces(fragment6, 0, append([]byte{icmp6, 0, 0, 0, 0, 0, 0, 1}, advert...)...),
		"router, hop by hop":            to6(0, behind(icmp6, advert)...),
		"router, destination options":   to6(60, behind(icmp6, advert)...),
		"router, routing header":        to6(43, behind(icmp6, advert)...),
		"router, authenticated":         to6(51, behind(icmp6, advert)...),
		"router, short":                 to6(icmp6, 134),
		"redirect":                      to6(icmp6, append([]byte{137, 0, 0, 0}, make([]byte, 36)...)...),
		"advertisement, fragment":       pieces(icmp6, 0, neighbor(136, ll, 2, bad.mac)...),
		"DHCPv6 server":                 to6(udpNumber, datagram(547, 546)...),
		"DHCPv6 server, fragment":       pieces(udpNumber, 0, datagram(547, 546)...),
		"fragment, short":               to6(fragment6, icmp6, 0, 0),
	}
	last := arpFrame(bad.mac, 2, bad.IPv4, good.IPv4) // this one is right
	for name, f := range frames {
		before := bad.port.dropped.Load()
		bad.write(f)
		bad.write(last)
		if good.read(20*time.Second, func(b []byte) bool {
			if bytes.Equal(b, last) {
				return true
			}
			t.Errorf("%s: %x arrived", name, b)
			return false
		}) == nil {
			t.Errorf("%s: the right one after it did not arrive", name)
		}
		if got := bad.port.dropped.Load() - before; got != 1 {
			t.Errorf("%s: %d frames were dropped", name, got)
		}
	}
	for name, f := range map[string][]byte{
		"IPv4":                to4(udpNumber, 0, datagram(dhcpClient, 1)...),
		"ping":                to4(1, 0, 8, 0, 0, 0, 0, 0, 0, 0),
		"IPv6":                to6(udpNumber, datagram(1, 2)...),
		"solicitation":        to6(icmp6, neighbor(135, good6, 1, bad.mac)...),
		"own advertisement":   to6(icmp6, neighbor(136, ll, 2, bad.mac)...),
		"ping in pieces":      pieces(icmp6, 0, 128, 0, 0, 0, 0, 0, 0, 0),
		"the rest of a ping":  pieces(icmp6, 8, 134, 0, 0, 0, 0, 0, 0, 0),
		"the rest of a piece": to4(udpNumber, 1, 0, dhcpServer, 0, dhcpClient),
	} {
		bad.write(f)
		if good.read(20*time.Second, func(b []byte) bool { return bytes.Equal(b, f) }) == nil {
			t.Errorf("%s did not arrive", name)
		}
	}
}

// A guest that asks whether an address is free hears from the network that it is
// not. Who has it is not asked: it might have asked the same a moment ago, and would
// give the address up.
func TestProbes(t *testing.T) {
	n := testNetwork(t, "user", nil)
	good, bad := join(t, n, 1, "good"), join(t, n, 2, "bad")
	unspecified, nodes := netip.IPv6Unspecified(), netip.MustParseAddr("ff02::1")
	probe := func(p *peer, a netip.Addr) []byte {
		if a.Is4() {
			return arpFrame(p.mac, 1, netip.IPv4Unspecified(), a)
		}
		return ip6Frame(p.mac, broadcast, icmp6, unspecified, nodes, neighbor(135, a, 0, MAC)...)
	}
	for _, a := range []netip.Addr{netip.MustParseAddr("10.0.2.50"), good.IPv4, netip.MustParseAddr("fd00::50"), good.linkLocal()} {
		ask := probe(good, a)
		good.write(ask)
		if bad.read(20*time.Second, func(b []byte) bool { return bytes.Equal(b, ask) }) == nil {
			t.Errorf("%v: the first to ask was not heard", a)
		}
		bad.write(probe(bad, a))
		answer := bad.read(20*time.Second, func(b []byte) bool {
			if a.Is4() {
				return isARP(2, a)(b) && bytes.Equal(b[22:28], good.mac[:])
			}
			return len(b) == 14+40+32 && b[54] == 136 && bytes.Equal(b[62:78], a.AsSlice()) && bytes.Equal(b[80:], good.mac[:])
		})
		if answer == nil {
			t.Errorf("%v: no answer to the second", a)
		} else if a.Is6() {
			ip := header.IPv6(answer[14:])
			h := header.ICMPv6(ip.Payload())
			if want := header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: append(header.ICMPv6{}, h...),
				Src: ip.SourceAddress(), Dst: ip.DestinationAddress()}); h.Checksum() != want || ip.HopLimit() != 255 {
				t.Errorf("checksum %x, want %x; hop limit %d", h.Checksum(), want, ip.HopLimit())
			}
		}
		last := arpFrame(bad.mac, 2, bad.IPv4, good.IPv4)
		bad.write(last)
		if got := good.read(20*time.Second, func([]byte) bool { return true }); !bytes.Equal(got, last) {
			t.Errorf("%v: %x arrived", a, got)
		}
		if n.portOf(a) != good.port {
			t.Errorf("%v is not the first one's", a)
		}
	}
}

// What guests are called is up to whoever starts them: every name becomes one that
// DNS can have, that is told apart, and that hides none of the network's own.
func TestHostileNames(t *testing.T) {
	n := testNetwork(t, "user", nil)
	long := string(bytes.Repeat([]byte("long."), 100))
	seen := map[string]bool{}
	for i, name := range []string{
		"", "gateway", "GATEWAY", "localhost", "LocalHost", "-", "..", "a.internal", "web", "web-2", "web", "Web", long, long,
		"tab\tnewline\n\x1b[31m\x00", "b\u00e4r\u202e", "\xff\xfe", "*", "web-", "a b;c|d$(e)`f`",
	} {
		p := join(t, n, byte(i+1), name)
		got := p.Joined.Name
		if seen[got] || got == gatewayName || got == "localhost" || len(got) == 0 || len(got) > maxName {
			t.Errorf("%q is called %q", name, got)
		}
		for _, c := range []byte(got) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				t.Errorf("%q is called %q", name, got)
			}
		}
		seen[got] = true
		if a, ok := n.lookup(got + "."); !ok || a[0] != p.IPv4 {
			t.Errorf("%q is at %v", got, a)
		}
	}
	if a, ok := n.lookup("gateway."); !ok || a[0] != n.opt.Gateway4() {
		t.Errorf("gateway is at %v", a)
	}
	if a, ok := n.lookup("localhost."); ok {
		t.Errorf("localhost is at %v", a)
	}
}
