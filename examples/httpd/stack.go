package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"gocat/guest/solo5"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// nic is the only network interface of the stack.
const nic = 1

// listen brings up a network stack on a device and listens on a TCP port. Without
// a router, only the network of prefix can be reached.
func listen(device string, prefix netip.Prefix, router netip.Addr, port uint16) (net.Listener, error) {
	if !prefix.Addr().Is4() || router.IsValid() && !router.Is4() {
		return nil, fmt.Errorf("%v: not an IPv4 address", prefix)
	}
	l, err := openLink(device)
	if err != nil {
		return nil, err
	}
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{icmp.NewProtocol4, tcp.NewProtocol},
	})
	// Windows of at most 64 KiB are announced to the byte. Of larger ones this version of
	// gVisor forgets the rest of a unit, and with it acknowledgements: two sides that both
	// send and have full buffers would wait for ever.
	window := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4096, Default: 65535, Max: 65535}
	if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, &window); err != nil {
		return nil, fmt.Errorf("receive buffer: %v", err)
	}
	if err := s.CreateNIC(nic, ethernet.New(l)); err != nil {
		return nil, fmt.Errorf("network device %s: %v", device, err)
	}
	address := tcpip.ProtocolAddress{
		Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{
			Address:   tcpip.AddrFrom4(prefix.Addr().As4()),
			PrefixLen: prefix.Bits(),
		},
	}
	if err := s.AddProtocolAddress(nic, address, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("address %v: %v", prefix, err)
	}
	s.AddRoute(tcpip.Route{Destination: address.AddressWithPrefix.Subnet(), NIC: nic})
	if router.IsValid() {
		s.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(router.As4()), NIC: nic})
	}
	go l.receive()
	return gonet.ListenTCP(s, tcpip.FullAddress{NIC: nic, Port: port}, ipv4.ProtocolNumber)
}

// link is a network device as the stack's lowest layer. Packets to the stack take
// the way of the embedded endpoint; those from it go to the device at once.
type link struct {
	*channel.Endpoint
	dev  solo5.Device
	file *os.File
}

func openLink(name string) (*link, error) {
	dev, err := solo5.Acquire(name, solo5.Net)
	if err != nil {
		return nil, fmt.Errorf("network device %s: %w", name, err)
	}
	// As a file it is read through Go's poller, so that other goroutines run
	// while there are no packets.
	file, err := os.OpenFile("/dev/solo5/"+name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &link{channel.New(0, uint32(dev.MTU), tcpip.LinkAddress(dev.MAC)), dev, file}, nil
}

// receive hands the device's packets to the stack.
func (l *link) receive() {
	frame := make([]byte, l.dev.MTU+header.EthernetMinimumSize)
	for {
		n, err := l.file.Read(frame)
		if err != nil {
			fmt.Fprintln(os.Stderr, "httpd:", err)
			os.Exit(1)
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame[:n])})
		l.InjectInbound(0, p)
		p.DecRef()
	}
}

// WritePackets sends packets and returns how many were sent.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	for i, p := range packets.AsSlice() {
		v := p.ToView()
		_, err := solo5.NetWrite(l.dev.Handle, v.AsSlice())
		v.Release()
		if err != nil {
			return i, &tcpip.ErrAborted{}
		}
	}
	return packets.Len(), nil
}
