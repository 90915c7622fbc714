package net

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

var guestMAC = [6]byte{2, 0, 0, 0, 0, 1}

// answer is a server's message as the library makes it.
func answer(kind dhcpv4.MessageType, yours string, options ...dhcpv4.Option) []byte {
	m, err := dhcpv4.New(dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(yours)), dhcpv4.WithHwAddr(guestMAC[:]),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IP{10, 0, 0, 1})))
	if err != nil {
		panic(err)
	}
	m.OpCode = dhcpv4.OpcodeBootReply
	for _, o := range options {
		m.UpdateOption(o)
	}
	return m.ToBytes()
}

func TestReadReply(t *testing.T) {
	good := answer(dhcpv4.MessageTypeAck, "10.0.0.7", dhcpv4.OptSubnetMask(net.CIDRMask(16, 32)), dhcpv4.OptRouter(net.IP{10, 0, 0, 2}),
		dhcpv4.OptDNS(net.IP{10, 0, 0, 3}, net.IP{10, 0, 0, 4}), dhcpv4.OptIPAddressLeaseTime(2*time.Hour))
	r, _, ok := readReply(good, guestMAC)
	names := []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")}
	if !ok || r.kind != ack || r.address != netip.MustParsePrefix("10.0.0.7/16") || r.router != netip.MustParseAddr("10.0.0.2") ||
		r.server != netip.MustParseAddr("10.0.0.1") || !slices.Equal(r.names, names) || r.time != 2*time.Hour {
		t.Errorf("read %+v, %v", r, ok)
	}
	if r, _, ok := readReply(answer(dhcpv4.MessageTypeNak, "0.0.0.0"), guestMAC); !ok || r.kind != nak {
		t.Errorf("a refusal: %+v, %v", r, ok)
	}
	for _, yours := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"} {
		if r, _, ok := readReply(answer(dhcpv4.MessageTypeAck, yours), guestMAC); ok {
			t.Errorf("%s is taken: %+v", yours, r)
		}
	}
	if r, _, ok := readReply(answer(dhcpv4.MessageTypeAck, "10.0.0.7", dhcpv4.OptSubnetMask(net.CIDRMask(0, 32))), guestMAC); ok {
		t.Errorf("a network of all addresses is taken: %+v", r)
	}
	if r, _, _ := readReply(answer(dhcpv4.MessageTypeAck, "10.0.0.7", dhcpv4.OptIPAddressLeaseTime(0), dhcpv4.OptRouter(net.IP{127, 0, 0, 1}),
		dhcpv4.OptDNS(net.IP{127, 0, 0, 1})), guestMAC); r.time < time.Minute || r.router.IsValid() || len(r.names) > 0 {
		t.Errorf("no time, and loopback addresses: %+v", r)
	}
	for n := range good { // cut off
		if r, _, ok := readReply(good[:n], guestMAC); ok && !r.address.IsValid() {
			t.Errorf("%d bytes: %+v", n, r)
		}
	}
	if _, _, ok := readReply(good, [6]byte{2}); ok {
		t.Error("an answer to another is taken")
	}
}

// FuzzReply has a server, or whoever else is on the network, send a guest anything.
// What is taken gives the device an address that a host may have, and as the other
// reader of such messages understands it.
func FuzzReply(f *testing.F) {
	f.Add(answer(dhcpv4.MessageTypeAck, "10.0.0.7", dhcpv4.OptSubnetMask(net.CIDRMask(16, 32)), dhcpv4.OptDNS(net.IP{10, 0, 0, 3})), uint16(67), uint8(0x45))
	f.Add(answer(dhcpv4.MessageTypeOffer, "127.0.0.1"), uint16(67), uint8(0x46))
	f.Add(answer(dhcpv4.MessageTypeNak, "0.0.0.0"), uint16(68), uint8(0x4f))
	f.Add([]byte{2}, uint16(67), uint8(0x45))
	f.Fuzz(func(t *testing.T, message []byte, from uint16, version uint8) {
		if len(message) > 1400 {
			return
		}
		c := &client{link: &link{device: &device{mac: guestMAC}}, replies: make(chan reply, 1)}
		if len(message) > atXID+4 {
			c.xid.Store(binary.BigEndian.Uint32(message[atXID:]))
		}
		frame := make([]byte, header.EthernetMinimumSize+header.IPv4MinimumSize+header.UDPMinimumSize)
		binary.BigEndian.PutUint16(frame[12:], uint16(header.IPv4ProtocolNumber))
		ip := header.IPv4(frame[header.EthernetMinimumSize:])
		ip.Encode(&header.IPv4Fields{TotalLength: uint16(len(ip) + len(message)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber)})
		ip[0] = version
		header.UDP(frame[header.EthernetMinimumSize+header.IPv4MinimumSize:]).Encode(&header.UDPFields{SrcPort: from, DstPort: clientPort})
		c.take(append(frame, message...))
		c.take(message)
		r, _, ok := readReply(message, guestMAC)
		if len(c.replies) > 0 {
			if got := <-c.replies; !ok || got.address != r.address {
				t.Fatalf("a frame gives %+v, its message %+v", got, r)
			}
		}
		if !ok || r.kind == nak {
			return
		}
		a := r.address.Addr()
		if !r.address.IsValid() || r.address.Bits() == 0 || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || !r.server.IsValid() ||
			r.time < time.Minute || r.router.IsValid() && r.router.IsLoopback() {
			t.Fatalf("taken: %+v", r)
		}
		if m, err := dhcpv4.FromBytes(message); err == nil && !m.YourIPAddr.Equal(a.AsSlice()) {
			t.Fatalf("the address is %v, to others %v", a, m.YourIPAddr)
		}
	})
}
