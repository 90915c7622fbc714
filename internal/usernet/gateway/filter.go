package gateway

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip/header"
)

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// input judges a frame of the guest's and passes it on: to the gateway, to other
// guests, or to what is answered right here. It reports whether the guest might
// send it. A frame has to come from the guest's own MAC address, and from an
// address in the network that nobody else has.
func (p *port) input(frame []byte) bool {
	if len(frame) < header.EthernetMinimumSize || string(frame[6:12]) != string(p.mac[:]) {
		return false
	}
	payload := frame[header.EthernetMinimumSize:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		return p.inputARP(frame, payload)
	case etherIPv4:
		return p.inputIPv4(frame, payload)
	case etherIPv6:
		return p.network.opt.Net6.IsValid() && p.inputIPv6(frame, payload)
	}
	return false
}

func (p *port) inputARP(frame []byte, h header.ARP) bool {
	if len(h) < header.ARPSize || !h.IsValid() || string(h.HardwareAddressSender()) != string(p.mac[:]) {
		return false
	}
	sender := netip.AddrFrom4([4]byte(h.ProtocolAddressSender()))
	target := netip.AddrFrom4([4]byte(h.ProtocolAddressTarget()))
	if sender.IsUnspecified() && !p.network.isOwn(target) { // asks whether target is free
		if other := p.claims(target); other != nil {
			p.sendPacket(p.mac, header.ARPProtocolNumber, p.arpReply(other, target))
			return true
		}
		sender = target
	}
	if !sender.IsUnspecified() && !p.mayUse(sender) {
		return false
	}
	p.switchFrame(frame, p.network.isOwn(target) && sender != target)
	return true
}

func (p *port) inputIPv4(frame []byte, h header.IPv4) bool {
	if !h.IsValid(len(h)) {
		return false
	}
	from, to := addr(h.SourceAddress()), addr(h.DestinationAddress())
	whole := !h.More() && h.FragmentOffset() == 0
	payload := h.Payload()
	if h.Protocol() == uint8(header.UDPProtocolNumber) && whole && len(payload) >= header.UDPMinimumSize {
		if u := header.UDP(payload); u.DestinationPort() == dhcpServer {
			return p.inputDHCP(u.Payload())
		}
	}
	if !p.mayUse(from) || h.FragmentOffset() == 0 && misleads4(h.Protocol(), h.More(), payload) {
		return false
	}
	own := p.network.isOwn(to)
	if h.Protocol() == uint8(header.ICMPv4ProtocolNumber) && !own && !p.network.inside(to) && whole {
		return p.pingOut(from, to, payload)
	}
	p.switchFrame(frame, true)
	return true
}

// switchFrame passes a frame on to the port that has its address, or to all
// others if that is a multicast address; and to the gateway if it may have it.
func (p *port) switchFrame(frame []byte, gateway bool) {
	to := [6]byte(frame[:6])
	many := to[0]&1 != 0
	if gateway && (many || to == MAC) {
		p.network.link.deliver(frame)
	}
	if to == MAC {
		return
	}
	ports := *p.network.ports.Load()
	if len(ports) == 1 {
		return
	}
	most := maxNeighbours
	if many {
		most = maxBroadcast
	}
	pkt := newFrame(frame)
	for _, o := range ports {
		if o != p && (many || o.mac == to) {
			o.enqueue(pkt, most)
		}
	}
	pkt.DecRef()
}

// held are the addresses that a guest was seen to use, beside the assigned one.
type held struct {
	sync.Mutex
	all  []netip.Addr
	last [2]netip.Addr // of either family, the last one that was allowed; for the reading goroutine alone
}

// mayUse reports whether the guest may send from a, and remembers that it does.
// Who uses an address first has it until it leaves, or has used many others since.
func (p *port) mayUse(a netip.Addr) bool {
	family := 0
	if a.Is6() {
		family = 1
	}
	if p.held.last[family] == a {
		return true
	}
	n := p.network
	if a == p.assigned {
		p.hold(a)
	} else {
		local := a.Is6() && a.IsLinkLocalUnicast() && n.opt.Net6.IsValid()
		if !local && !n.inside(a) || p.othersEUI64(a) || n.isOwn(a) || a == n.opt.Broadcast4() || a == n.opt.Net4.Addr() {
			return false
		}
		n.mu.Lock()
		other := n.portOf(a)
		if other == nil || other == p {
			p.hold(a)
			n.setNeighbor(a, p.mac)
		}
		n.mu.Unlock()
		if other != nil && other != p {
			return false
		}
	}
	p.held.last[family] = a
	return true
}

// claims has the guest ask for address a, which from then on is its own as if it had
// sent from it: otherwise a neighbour could always be faster. It returns who has the
// address already; that one is not asked, because a neighbour's question looks like a
// conflict to a guest that has just asked the same.
func (p *port) claims(a netip.Addr) (other *port) {
	if p.mayUse(a) {
		return nil
	}
	return p.network.portOf(a)
}

// hold puts a at the end of the addresses that the guest uses.
func (p *port) hold(a netip.Addr) {
	h := &p.held
	h.Lock()
	defer h.Unlock()
	h.all = slices.DeleteFunc(h.all, func(b netip.Addr) bool { return a == b })
	h.all = append(h.all, a)
	same := 0
	for _, b := range h.all {
		if b.Is4() == a.Is4() {
			same++
		}
	}
	if same <= maxAddresses {
		return
	}
	i := slices.IndexFunc(h.all, func(b netip.Addr) bool { return b.Is4() == a.Is4() })
	if old := h.all[i]; old != p.assigned {
		p.network.stack.RemoveNeighbor(nic, protocolOf(old), address(old))
	}
	h.all = slices.Delete(h.all, i, i+1)
}

func (p *port) holds(a netip.Addr) bool {
	p.held.Lock()
	defer p.held.Unlock()
	return slices.Contains(p.held.all, a)
}

func (p *port) addresses() []netip.Addr {
	p.held.Lock()
	defer p.held.Unlock()
	return slices.Clone(p.held.all)
}

// target is the address that published connections go to: the IPv4 address that
// the guest used last, or else the assigned one; an IPv6 address for a guest that
// uses no other.
func (p *port) target() netip.Addr {
	all := p.addresses()
	slices.Reverse(all)
	if i := slices.IndexFunc(all, netip.Addr.Is4); i >= 0 {
		return all[i]
	}
	if i := slices.IndexFunc(all, p.network.opt.Net6.Contains); i >= 0 {
		return all[i]
	}
	return p.assigned
}
