package gateway

import (
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the gateway's own port of the switch, as the stack sees it. Package
// ethernet adds and takes off the frames' headers.
type link struct {
	network    *Network
	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
}

func newLink(n *Network) *link { return &link{network: n} }

// deliver gives a frame to the stack.
func (l *link) deliver(frame []byte) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d == nil {
		return
	}
	pkt := newFrame(frame)
	d.DeliverNetworkPacket(0, pkt)
	pkt.DecRef()
}

// newFrame is a packet with a copy of a whole frame.
func newFrame(frame []byte) *stack.PacketBuffer {
	return stack.NewPacketBuffer(stack.PacketBufferOptions{
		Payload: buffer.MakeWithView(buffer.NewViewWithData(frame)),
	})
}

// WritePackets implements stack.LinkWriter: frames go to the port with their
// address, or to all.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		narrow(pkt)
		to := pkt.EgressRoute.RemoteLinkAddress
		if header.IsMulticastEthernetAddress(to) || to == header.EthernetBroadcastAddress {
			for _, p := range *l.network.ports.Load() {
				p.send(pkt)
			}
		} else if p := l.network.portOfMAC([]byte(to)); p != nil {
			p.send(pkt)
		}
	}
	return pkts.Len(), nil
}

// The rest of stack.LinkEndpoint.

func (l *link) MTU() uint32 {
	return uint32(l.network.opt.MTU + header.EthernetMinimumSize)
}
func (*link) SetMTU(uint32)                           {}
func (*link) MaxHeaderLength() uint16                 { return 0 }
func (*link) LinkAddress() tcpip.LinkAddress          { return tcpip.LinkAddress(MAC[:]) }
func (*link) SetLinkAddress(tcpip.LinkAddress)        {}
func (*link) Wait()                                   {}
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (*link) AddHeader(*stack.PacketBuffer)           {}
func (*link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (*link) Close()                                  {}
func (*link) SetOnCloseAction(func())                 {}

// Capabilities: what arrives through a socket of the host was not damaged on the
// way, and a guest that sends wrong checksums harms itself.
func (*link) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityRXChecksumOffload }

func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	l.dispatcher = d
	l.mu.Unlock()
}

func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}
