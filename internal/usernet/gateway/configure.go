package gateway

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Ports of DHCP (RFC 2131).
const (
	dhcpServer = 67
	dhcpClient = 68
)

// lease is how long a guest may use its address by DHCP. It is the guest's as
// long as it lives, so the time says only how often it asks.
const lease = 24 * time.Hour

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// inputDHCP answers a guest's DHCP message. There is one address to give, the
// guest's, so nothing has to be remembered. It reports whether the message was
// one.
func (p *port) inputDHCP(b []byte) bool {
	m, err := dhcpv4.FromBytes(b)
	if err != nil || m.OpCode != dhcpv4.OpcodeBootRequest || string(m.ClientHWAddr) != string(p.mac[:]) {
		return false
	}
	c := &p.network.opt.Config
	ip := func(a netip.Addr) net.IP { return net.IP(a.AsSlice()) }
	answer := dhcpv4.MessageTypeAck
	yours := ip(p.assigned)
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		answer = dhcpv4.MessageTypeOffer
	case dhcpv4.MessageTypeRequest:
		if server := m.ServerIdentifier(); server != nil && !server.Equal(ip(c.Gateway4())) {
			return true // it has chosen another
		}
		wanted := m.RequestedIPAddress()
		if wanted == nil || wanted.IsUnspecified() {
			wanted = m.ClientIPAddr
		}
		if !wanted.Equal(yours) {
			answer, yours = dhcpv4.MessageTypeNak, net.IPv4zero
		}
	case dhcpv4.MessageTypeInform:
		yours = net.IPv4zero
	default: // release, decline: the address stays the guest's
		return true
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(answer), dhcpv4.WithYourIP(yours),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip(c.Gateway4()))))
	if err != nil {
		return false
	}
	if answer != dhcpv4.MessageTypeNak {
		r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(c.Net4.Bits(), 32)))
		r.UpdateOption(dhcpv4.OptRouter(ip(c.Gateway4())))
		r.UpdateOption(dhcpv4.OptDNS(ip(c.DNS4())))
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(c.MTU))))
		r.UpdateOption(dhcpv4.OptHostName(p.name))
		if m.MessageType() != dhcpv4.MessageTypeInform {
			r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease))
		}
	}
	to, mac := everybody, broadcast
	if !m.IsBroadcast() || answer != dhcpv4.MessageTypeNak {
		mac = p.mac // nobody else is asked to read it
	}
	if a, ok := netip.AddrFromSlice(m.ClientIPAddr.To4()); ok && a == p.assigned && !m.IsBroadcast() {
		to = a
	}
	p.sendUDP(netip.AddrPortFrom(c.Gateway4(), dhcpServer), netip.AddrPortFrom(to, dhcpClient), mac, r.ToBytes())
	return true
}

// Options of router advertisements and of what is said about neighbours (RFC 4861,
// RFC 8106).
const (
	optSourceLink = 1
	optTargetLink = 2
	optPrefix     = 3
	optMTU        = 5
	optDNS        = 25
)

// allNodes is where router advertisements go.
var allNodes = netip.MustParseAddr("ff02::1")

// advertise answers a router solicitation: the prefix in which the guest makes
// itself an address, the name server, the MTU, and whether there is a way out.
func (p *port) advertise() {
	c := &p.network.opt.Config
	const forever = math.MaxUint32 // seconds
	router := uint16(0)
	if p.network.opt.Route6 && !p.outbound.None() {
		router = 9000 // seconds, the longest there is (RFC 4861)
	}
	b := []byte{byte(header.ICMPv6RouterAdvert), 0, 0, 0, 64, 0} // code, checksum; hop limit, flags: no DHCPv6
	b = binary.BigEndian.AppendUint16(b, router)
	b = append(b, make([]byte, 8)...) // reachable time, retransmission time: as the guest likes
	b = append(b, optSourceLink, 1)
	b = append(b, MAC[:]...)
	b = append(b, optMTU, 1, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(c.MTU))
	b = append(b, optPrefix, 4, 64, 0xc0) // on this link, and for addresses of one's own
	b = binary.BigEndian.AppendUint32(b, forever)
	b = binary.BigEndian.AppendUint32(b, forever)
	b = append(b, 0, 0, 0, 0)
	b = append(b, c.Net6.Addr().AsSlice()...)
	b = append(b, optDNS, 3, 0, 0)
	b = binary.BigEndian.AppendUint32(b, forever)
	b = append(b, c.DNS6().AsSlice()...)
	p.sendICMPv6(LinkLocal, allNodes, b)
}
