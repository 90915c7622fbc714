//go:build gvisor

package main

import (
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/link/fdbased"
	"gvisor.dev/gvisor/pkg/tcpip/link/tun"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

func init() {
	listenTap = func(tap, address string) (net.Listener, error) {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		fd, err := tun.OpenTAP(tap)
		if err != nil {
			return nil, err
		}
		link, err := fdbased.New(&fdbased.Options{
			FDs: []int{fd}, MTU: 1500, EthernetHeader: true, Address: "\x02\x00\x00\x00\x00\x03",
			PacketDispatchMode: fdbased.Readv,
		})
		if err != nil {
			return nil, err
		}
		s := stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{arp.NewProtocol, ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol},
		})
		if err := s.CreateNIC(1, link); err != nil {
			return nil, fmt.Errorf("tap %s: %v", tap, err)
		}
		own := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(at.Addr().As4()), PrefixLen: 24}
		if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: own}, stack.AddressProperties{}); err != nil {
			return nil, fmt.Errorf("address %v: %v", at, err)
		}
		s.AddRoute(tcpip.Route{Destination: own.Subnet(), NIC: 1})
		return gonet.ListenTCP(s, tcpip.FullAddress{NIC: 1, Port: at.Port()}, ipv4.ProtocolNumber)
	}
}
