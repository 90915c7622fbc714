package gateway

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

func (p *port) inputIPv6(frame []byte, h header.IPv6) bool {
	if !h.IsValid(len(h)) {
		return false
	}
	from, to := addr(h.SourceAddress()), addr(h.DestinationAddress())
	if !from.IsUnspecified() && !p.mayUse(from) { // unspecified: asks whether an address is free
		return false
	}
	own := p.network.isOwn(to)
	next, payload := h.NextHeader(), h.Payload()
	whole, first := true, true
	if next == uint8(header.IPv6FragmentExtHdrIdentifier) {
		if len(payload) < header.IPv6FragmentHeaderSize {
			return false
		}
		const offset = 0xfff8
		whole, first = false, binary.BigEndian.Uint16(payload[2:])&offset == 0
		next, payload = payload[0], payload[header.IPv6FragmentHeaderSize:]
	}
	switch {
	case first && misleads6(next, whole, payload):
		return false
	case next == uint8(header.ICMPv6ProtocolNumber) && whole:
		return p.inputICMPv6(frame, from, to, own, payload)
	case next == uint8(header.TCPProtocolNumber) || next == uint8(header.UDPProtocolNumber):
		p.switchFrame(frame, true)
		return true
	}
	// Other protocols, and pings in pieces, are for those inside: the stack would
	// answer for the world outside.
	p.switchFrame(frame, own)
	return own || to.IsMulticast() || p.network.inside(to)
}

func (p *port) inputICMPv6(frame []byte, from, to netip.Addr, own bool, h header.ICMPv6) bool {
	gateway := own
	switch h.Type() {
	case header.ICMPv6RouterSolicit:
		p.advertise()
		return true
	case header.ICMPv6NeighborSolicit:
		target, ok := p.neighborTarget(h)
		if !ok {
			return false
		}
		gateway = p.network.isOwn(target)
		if from.IsUnspecified() && !gateway { // asks whether target is free
			if other := p.claims(target); other != nil {
				p.sendICMPv6(target, allNodes, neighborAdvert(other, target))
				return true
			}
			if !p.mayUse(target) {
				return false
			}
		}
	case header.ICMPv6NeighborAdvert:
		if target, ok := p.neighborTarget(h); !ok || !p.mayUse(target) {
			return false
		}
	case header.ICMPv6EchoRequest:
		if !own && !to.IsMulticast() && !p.network.inside(to) && !to.IsLinkLocalUnicast() {
			return p.pingOut(from, to, h)
		}
	}
	p.switchFrame(frame, gateway)
	return true
}

// neighborTarget is the address that a neighbour solicitation or advertisement is
// about. It is not ok if the message gives anybody a MAC address that is not the
// guest's.
func (p *port) neighborTarget(h header.ICMPv6) (target netip.Addr, ok bool) {
	// Both have four bytes, the target and options, each after type and length.
	if len(h) < header.ICMPv6NeighborSolicitMinimumSize {
		return target, false
	}
	options := h[header.ICMPv6NeighborSolicitMinimumSize:]
	for len(options) > 0 {
		const unit = 8 // bytes
		if len(options) < unit || options[1] == 0 || len(options) < int(options[1])*unit {
			return target, false
		}
		if t := options[0]; (t == optSourceLink || t == optTargetLink) && string(options[2:unit]) != string(p.mac[:]) {
			return target, false
		}
		options = options[int(options[1])*unit:]
	}
	return netip.AddrFrom16([16]byte(h[8:])), true
}

// misleads4 reports whether the beginning of a packet's payload is what only the
// gateway may say: a neighbour would take it for the DHCP server or the router. It
// does so too if there is too little of it to say.
func misleads4(protocol uint8, more bool, b []byte) bool {
	switch protocol {
	case uint8(header.UDPProtocolNumber):
		return more && len(b) < header.UDPMinimumSize || isTo(b, dhcpClient)
	case uint8(header.ICMPv4ProtocolNumber):
		const redirect, routerAdvert = 5, 9
		return len(b) == 0 || b[0] == redirect || b[0] == routerAdvert
	}
	return false
}

// misleads6 is misleads4 for IPv6. Extension headers can hide what follows them (RFC
// 7113), and what is said about neighbours is never in pieces (RFC 6980).
func misleads6(next uint8, whole bool, b []byte) bool {
	const hopByHop, routing, fragment, authentication, options, mobility, hip, shim6 = 0, 43, 44, 51, 60, 135, 139, 140
	switch next {
	case hopByHop, routing, fragment, authentication, options, mobility, hip, shim6:
		return true
	case uint8(header.UDPProtocolNumber):
		const dhcp6Client = 546
		return !whole && len(b) < header.UDPMinimumSize || isTo(b, dhcp6Client)
	case uint8(header.ICMPv6ProtocolNumber):
		if len(b) < header.ICMPv6MinimumSize {
			return true
		}
		t := header.ICMPv6Type(b[0])
		discovery := t >= header.ICMPv6RouterSolicit && t <= header.ICMPv6RedirectMsg
		return t == header.ICMPv6RouterAdvert || t == header.ICMPv6RedirectMsg || discovery && !whole
	}
	return false
}

// isTo reports whether a datagram is for a port.
func isTo(udp []byte, port uint16) bool {
	return len(udp) >= header.UDPMinimumSize && header.UDP(udp).DestinationPort() == port
}

// othersEUI64 reports whether the lower half of an IPv6 address is made of a MAC
// address (RFC 4291) that is not the guest's: whoever has that, or will, takes it.
func (p *port) othersEUI64(a netip.Addr) bool {
	if !a.Is6() {
		return false
	}
	b, m := a.As16(), p.mac
	const universal = 2
	return b[11] == 0xff && b[12] == 0xfe &&
		[8]byte(b[8:]) != [8]byte{m[0] ^ universal, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}
}

// neighborAdvert says that a guest has an address.
func neighborAdvert(holder *port, a netip.Addr) []byte {
	const override = 0x20
	b := append([]byte{byte(header.ICMPv6NeighborAdvert), 0, 0, 0, override, 0, 0, 0}, a.AsSlice()...)
	return append(append(b, optTargetLink, 1), holder.mac[:]...)
}

// arpReply tells the guest that another has an address.
func (p *port) arpReply(holder *port, a netip.Addr) []byte {
	b := header.ARP(make([]byte, header.ARPSize))
	b.SetIPv4OverEthernet()
	b.SetOp(header.ARPReply)
	copy(b.HardwareAddressSender(), holder.mac[:])
	copy(b.ProtocolAddressSender(), a.AsSlice())
	copy(b.HardwareAddressTarget(), p.mac[:])
	return b
}
