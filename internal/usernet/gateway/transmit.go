package gateway

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// transmit sends a packet to a guest from any address. The stack cuts it into
// fragments where it must.
func (n *Network) transmit(from, to netip.Addr, protocol tcpip.TransportProtocolNumber, head, payload []byte) {
	r, err := n.stack.FindRoute(nic, address(from), address(to), protocolOf(to), false)
	if err != nil {
		return
	}
	defer r.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + len(head),
		Payload:            buffer.MakeWithData(payload),
	})
	defer pkt.DecRef()
	copy(pkt.TransportHeader().Push(len(head)), head)
	pkt.TransportProtocolNumber = protocol
	r.WritePacket(stack.NetworkHeaderParams{Protocol: protocol, TTL: 64}, pkt)
}

// transmitUDP sends a datagram to a guest.
func (n *Network) transmitUDP(from, to netip.AddrPort, payload []byte) {
	h := header.UDP(make([]byte, header.UDPMinimumSize))
	length := header.UDPMinimumSize + len(payload)
	h.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: uint16(length)})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, address(from.Addr()), address(to.Addr()), uint16(length))
	sum = ^h.CalculateChecksum(checksum.Checksum(payload, sum))
	if sum == 0 {
		sum = 0xffff // 0 stands for none (RFC 768)
	}
	h.SetChecksum(sum)
	n.transmit(from.Addr(), to.Addr(), header.UDPProtocolNumber, h, payload)
}

// transmitEcho sends the answer to a ping.
func (n *Network) transmitEcho(from, to netip.Addr, id, sequence uint16, payload []byte) {
	if to.Is4() {
		h := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize))
		h.SetType(header.ICMPv4EchoReply)
		h.SetIdent(id)
		h.SetSequence(sequence)
		h.SetChecksum(header.ICMPv4Checksum(h, checksum.Checksum(payload, 0)))
		n.transmit(from, to, header.ICMPv4ProtocolNumber, h, payload)
		return
	}
	h := header.ICMPv6(make([]byte, header.ICMPv6EchoMinimumSize))
	h.SetType(header.ICMPv6EchoReply)
	h.SetIdent(id)
	h.SetSequence(sequence)
	n.transmitICMPv6(from, to, h, payload)
}

func (n *Network) transmitICMPv6(from, to netip.Addr, h header.ICMPv6, payload []byte) {
	h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: h, Src: address(from), Dst: address(to),
		PayloadCsum: checksum.Checksum(payload, 0), PayloadLen: len(payload),
	}))
	n.transmit(from, to, header.ICMPv6ProtocolNumber, h, payload)
}

// What follows sends frames to one guest past the stack, which has one view of
// all of them.

// sendUDP sends the guest a datagram.
func (p *port) sendUDP(from, to netip.AddrPort, mac [6]byte, payload []byte) {
	const headers = header.IPv4MinimumSize + header.UDPMinimumSize
	b := make([]byte, headers, headers+len(payload))
	ip, u := header.IPv4(b), header.UDP(b[header.IPv4MinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(headers + len(payload)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: address(from.Addr()), DstAddr: address(to.Addr()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	length := uint16(header.UDPMinimumSize + len(payload))
	u.Encode(&header.UDPFields{SrcPort: from.Port(), DstPort: to.Port(), Length: length})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, address(from.Addr()), address(to.Addr()), length)
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum(payload, sum)))
	p.sendPacket(mac, header.IPv4ProtocolNumber, append(b, payload...))
}

// sendICMPv6 sends the guest a message about its neighbourhood; b is all of it
// and gets its checksum here.
func (p *port) sendICMPv6(from, to netip.Addr, b []byte) {
	header.ICMPv6(b).SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: b, Src: address(from), Dst: address(to),
	}))
	ip := header.IPv6(make([]byte, header.IPv6MinimumSize))
	ip.Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(b)), TransportProtocol: header.ICMPv6ProtocolNumber,
		HopLimit: header.NDPHopLimit, SrcAddr: address(from), DstAddr: address(to),
	})
	p.sendPacket(p.mac, header.IPv6ProtocolNumber, append(ip, b...))
}

func (p *port) sendPacket(mac [6]byte, protocol tcpip.NetworkProtocolNumber, packet []byte) {
	b := make([]byte, header.EthernetMinimumSize)
	header.Ethernet(b).Encode(&header.EthernetFields{
		SrcAddr: tcpip.LinkAddress(MAC[:]), DstAddr: tcpip.LinkAddress(mac[:]), Type: protocol,
	})
	pkt := newFrame(append(b, packet...))
	p.send(pkt)
	pkt.DecRef()
}
