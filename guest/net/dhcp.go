package net

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// client asks a DHCP server for an address (RFC 2131). It makes and reads frames
// itself: a stack without an address sends and takes none.
type client struct {
	stack   *stack.Stack
	link    *link
	xid     atomic.Uint32 // of the message that waits for an answer
	replies chan reply
	done    chan struct{} // closed with the first address
}

// lease is what a server grants.
type lease struct {
	address netip.Prefix
	server  netip.Addr
	router  netip.Addr
	names   []netip.Addr
	time    time.Duration
}

type reply struct {
	kind byte
	lease
}

func newClient(s *stack.Stack, l *link) *client {
	c := &client{stack: s, link: l, replies: make(chan reply, 4), done: make(chan struct{})}
	c.xid.Store(s.InsecureRNG().Uint32())
	return c
}

// Ports, the layout of a message, and options (RFC 2131, RFC 2132).
const (
	serverPort, clientPort = 67, 68

	bootRequest = 1
	bootReply   = 2
	atXID       = 4
	atFlags     = 10
	atClient    = 12
	atYours     = 16
	atHardware  = 28
	atCookie    = 236
	atOptions   = 240
	cookie      = 0x63825363
	broadcast   = 0x8000

	optionMask      = 1
	optionRouter    = 3
	optionNames     = 6
	optionRequested = 50
	optionTime      = 51
	optionKind      = 53
	optionServer    = 54
	optionList      = 55
	optionEnd       = 255

	discover = 1
	offer    = 2
	request  = 3
	ack      = 5
	nak      = 6
)

// Times between messages that are not answered.
const (
	firstRetry = time.Second
	mostRetry  = 16 * time.Second
)

// run gets an address and keeps it.
func (c *client) run() {
	var now lease
	for {
		l, ok := c.obtain(now)
		if !ok {
			if now.address.IsValid() {
				c.stack.RemoveAddress(deviceNIC, tcpipAddress(now.address.Addr()))
			}
			now = lease{}
			continue
		}
		c.use(now, l)
		if !now.address.IsValid() {
			select {
			case <-c.done:
			default:
				close(c.done)
			}
		}
		now = l
		time.Sleep(l.time / 2)
	}
}

// obtain gets a lease, or a lease renewed. It fails when a renewal is refused or
// its time is over.
func (c *client) obtain(now lease) (lease, bool) {
	retry := firstRetry
	end := time.Now().Add(now.time / 2)
	for {
		l, kind := now, byte(nak)
		if now.address.IsValid() {
			l, kind = c.ask(request, now, retry)
		} else if l, kind = c.ask(discover, now, retry); kind == offer {
			l, kind = c.ask(request, l, retry)
		}
		switch {
		case kind == ack && l.address.IsValid():
			return l, true
		case now.address.IsValid() && (kind == nak || time.Now().After(end)):
			return l, false
		}
		retry = min(2*retry, mostRetry)
	}
}

// ask sends a message and returns the answer that belongs to it, of kind 0 if
// none came in time.
func (c *client) ask(kind byte, l lease, wait time.Duration) (lease, byte) {
	c.xid.Add(1)
	for len(c.replies) > 0 {
		<-c.replies
	}
	if c.link.send(c.message(kind, l)) != nil {
		time.Sleep(wait)
		return lease{}, 0
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case r := <-c.replies:
			if kind == discover && r.kind == offer || kind == request && (r.kind == ack || r.kind == nak) {
				return r.lease, r.kind
			}
		case <-t.C:
			return lease{}, 0
		}
	}
}

// use gives the interface the address that was granted.
func (c *client) use(old, l lease) {
	if old.address != l.address {
		if old.address.IsValid() {
			c.stack.RemoveAddress(deviceNIC, tcpipAddress(old.address.Addr()))
		}
		addAddress(c.stack, deviceNIC, l.address)
	}
	if l.router.IsValid() {
		setGateway(c.stack, l.router)
	}
	if len(settings.nameservers) == 0 {
		setNameservers(l.names)
	}
}

// message makes the frame of a message: to all, from no address.
func (c *client) message(kind byte, l lease) []byte {
	b := make([]byte, atOptions, 300)
	b[0], b[1], b[2] = bootRequest, 1, 6
	binary.BigEndian.PutUint32(b[atXID:], c.xid.Load())
	binary.BigEndian.PutUint16(b[atFlags:], broadcast)
	copy(b[atHardware:], c.link.mac[:])
	binary.BigEndian.PutUint32(b[atCookie:], cookie)
	b = append(b, optionKind, 1, kind)
	b = append(b, optionList, 4, optionMask, optionRouter, optionNames, optionTime)
	if l.address.IsValid() {
		b = append(append(b, optionRequested, 4), l.address.Addr().AsSlice()...)
		b = append(append(b, optionServer, 4), l.server.AsSlice()...)
	}
	b = append(b, optionEnd)
	const least = 300 // BOOTP's, which some servers want
	b = append(b, make([]byte, max(0, least-len(b)))...)

	const headers = header.EthernetMinimumSize + header.IPv4MinimumSize + header.UDPMinimumSize
	frame := make([]byte, headers, headers+len(b))
	header.Ethernet(frame).Encode(&header.EthernetFields{
		SrcAddr: c.link.LinkAddress(), DstAddr: header.EthernetBroadcastAddress, Type: header.IPv4ProtocolNumber,
	})
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(header.IPv4MinimumSize + header.UDPMinimumSize + len(b)), TTL: 64, Protocol: uint8(header.UDPProtocolNumber),
		SrcAddr: header.IPv4Any, DstAddr: header.IPv4Broadcast,
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	udp := header.UDP(ip.Payload())
	udp.Encode(&header.UDPFields{SrcPort: clientPort, DstPort: serverPort, Length: uint16(header.UDPMinimumSize + len(b))})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, header.IPv4Any, header.IPv4Broadcast, uint16(header.UDPMinimumSize+len(b)))
	udp.SetChecksum(^udp.CalculateChecksum(checksum.Checksum(b, sum)))
	return append(frame, b...)
}

// take takes a frame that is an answer, and says whether it was one.
func (c *client) take(frame []byte) bool {
	eth := header.Ethernet(frame)
	if len(frame) < header.EthernetMinimumSize || eth.Type() != header.IPv4ProtocolNumber {
		return false
	}
	ip := header.IPv4(frame[header.EthernetMinimumSize:])
	if !ip.IsValid(len(ip)) || ip.Protocol() != uint8(header.UDPProtocolNumber) || ip.More() || ip.FragmentOffset() != 0 {
		return false
	}
	udp := header.UDP(ip.Payload())
	if len(udp) < header.UDPMinimumSize || udp.DestinationPort() != clientPort || udp.SourcePort() != serverPort {
		return false
	}
	r, xid, ok := readReply(udp[header.UDPMinimumSize:], c.link.mac)
	if ok && xid == c.xid.Load() {
		select {
		case c.replies <- r:
		default:
		}
	}
	return true
}

// readReply reads a message from a server, which may contain anything. An address
// that no host can have is ignored: the device must not get the guest's loopback
// address.
func readReply(b []byte, mac [6]byte) (r reply, xid uint32, ok bool) {
	if len(b) < atOptions || b[0] != bootReply || [6]byte(b[atHardware:]) != mac || binary.BigEndian.Uint32(b[atCookie:]) != cookie {
		return r, 0, false
	}
	yours := netip.AddrFrom4([4]byte(b[atYours:]))
	bits := 24
	r.time = time.Hour
	first := func(v []byte) (a netip.Addr) {
		if len(v) >= 4 {
			a = host(netip.AddrFrom4([4]byte(v)))
		}
		return a
	}
	for o := b[atOptions:]; len(o) >= 2 && o[0] != optionEnd; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := int(o[1])
		if 2+n > len(o) {
			break
		}
		v := o[2 : 2+n]
		switch o[0] {
		case optionKind:
			if n == 1 {
				r.kind = v[0]
			}
		case optionMask:
			if n == 4 {
				mask := tcpip.MaskFromBytes(v)
				bits = mask.Prefix()
			}
		case optionRouter:
			r.router = first(v)
		case optionServer:
			r.server = first(v)
		case optionNames:
			for ; len(v) >= 4; v = v[4:] {
				if a := first(v); a.IsValid() {
					r.names = append(r.names, a)
				}
			}
		case optionTime:
			if n == 4 {
				r.time = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
			}
		}
		o = o[2+n:]
	}
	r.time = max(r.time, time.Minute)
	if yours = host(yours); yours.IsValid() && bits > 0 {
		r.address = netip.PrefixFrom(yours, bits)
	}
	return r, binary.BigEndian.Uint32(b[atXID:]), r.kind != 0 && (r.kind == nak || r.address.IsValid() && r.server.IsValid())
}

// host returns a if a single host on a network can have it, otherwise no
// address.
func host(a netip.Addr) netip.Addr {
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return a
}
