package net

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// The interfaces, by the numbers and names that Linux would give them.
const (
	loopbackNIC tcpip.NICID = 1
	deviceNIC   tcpip.NICID = 2

	loopbackName = "lo"
	deviceName   = "eth0"
)

var loopback4 = tcpip.AddrFrom4([4]byte{127, 0, 0, 1})

var inside struct {
	once  sync.Once
	stack *stack.Stack
}

// theStack returns the stack, which the first use makes.
func theStack() *stack.Stack {
	inside.once.Do(func() {
		inside.stack = newStack()
		if d := theDevice; d != nil {
			if err := attach(inside.stack, d, settings); err != nil {
				refuse(err)
			}
		}
	})
	return inside.stack
}

// Sizes of the buffers of a TCP connection in bytes: what it begins with, and
// what the stack lets it grow to.
const (
	leastBuffer = 4 << 10
	firstBuffer = 256 << 10
	mostBuffer  = 4 << 20
)

// silent is where the stack's own log goes: the console is the program's.
type silent struct{}

func (silent) Emit(int, log.Level, time.Time, string, ...any) {}

// newStack makes a stack with a loopback interface.
func newStack() *stack.Stack {
	log.SetTarget(silent{})
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			ipv4.NewProtocol,
			// Without the detection of duplicate addresses, for which a server
			// would have to wait a second.
			ipv6.NewProtocolWithOptions(ipv6.Options{
				AutoGenLinkLocal: true,
				NDPConfigs:       ipv6.DefaultNDPConfigurations(),
				NDPDisp:          routers{},
				DADConfigs:       stack.DADConfigurations{},
			}),
			arp.NewProtocol,
		},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		HandleLocal: true,
		RawFactory:  raw.EndpointFactory{},
	})
	sack, grow := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: leastBuffer, Default: firstBuffer, Max: mostBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: leastBuffer, Default: firstBuffer, Max: mostBuffer}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &grow, &receive, &send} {
		must(s.SetTransportProtocolOption(tcp.ProtocolNumber, o))
	}
	must(s.CreateNICWithOptions(loopbackNIC, loopback.New(), stack.NICOptions{Name: loopbackName}))
	for _, p := range []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")} {
		must(addAddress(s, loopbackNIC, p))
	}
	return s
}

// must panics with an error that only this program itself can cause.
func must(err tcpip.Error) {
	if err != nil {
		panic(err.String())
	}
}

func tcpipAddress(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// addAddress gives an interface an address, and a route to its network.
func addAddress(s *stack.Stack, nic tcpip.NICID, p netip.Prefix) tcpip.Error {
	a := tcpip.AddressWithPrefix{Address: tcpipAddress(p.Addr()), PrefixLen: p.Bits()}
	if err := s.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: protocolOf(p.Addr()), AddressWithPrefix: a}, stack.AddressProperties{}); err != nil {
		return err
	}
	s.AddRoute(tcpip.Route{Destination: a.Subnet(), NIC: nic})
	return nil
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// setGateway makes a router the way to all other networks.
func setGateway(s *stack.Stack, router netip.Addr) {
	to := header.IPv4EmptySubnet
	if router.Is6() {
		to = header.IPv6EmptySubnet
	}
	s.RemoveRoutes(func(r tcpip.Route) bool { return r.Destination == to })
	s.AddRoute(tcpip.Route{Destination: to, Gateway: tcpipAddress(router), NIC: deviceNIC})
}

// attach adds the interface of a network device, with the addresses that are
// said, or those of a DHCP server.
func attach(s *stack.Stack, d *device, c config) error {
	l := newLink(d)
	if err := s.CreateNICWithOptions(deviceNIC, l, stack.NICOptions{Name: deviceName}); err != nil {
		return fmt.Errorf("network device %s: %v", d.name, err)
	}
	s.AddRoute(tcpip.Route{Destination: header.IPv6LinkLocalPrefix.Subnet(), NIC: deviceNIC})
	for _, p := range c.addresses {
		if err := addAddress(s, deviceNIC, p); err != nil {
			return fmt.Errorf("address %v: %v", p, err)
		}
	}
	for _, g := range c.gateways {
		setGateway(s, g)
	}
	setNameservers(c.nameservers)
	if c.static() {
		go l.receive(nil)
		return nil
	}
	client := newClient(s, l)
	addressing = client.done
	go l.receive(client)
	go client.run()
	return nil
}

// defaultNIC is the interface to the world, or the loopback where there is none.
func defaultNIC() tcpip.NICID {
	if theStack().HasNIC(deviceNIC) {
		return deviceNIC
	}
	return loopbackNIC
}

// ours says whether an address is that of this host whatever its network is.
func ours(a tcpip.Address) bool {
	return a.Len() == 4 && header.IsV4LoopbackAddress(a) || a == header.IPv6Loopback
}
