// Package gateway is the far end of a user network: a switch between the guests
// of one network, connected to a gateway that ends their connections in gVisor's
// TCP/IP stack and continues them as ordinary sockets of the host.
//
// Everything that a guest sends is hostile. Each guest is a port: what it may
// send is checked frame by frame (filter.go), what it can make the process hold
// is bounded by limits.go. Nothing here opens a file.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"gocat/internal/usernet"
)

// MAC is the gateway's address, of the locally administered ones: 02 and "gocat".
var MAC = [6]byte{0x02, 'g', 'o', 'c', 'a', 't'}

// LinkLocal is the gateway's link-local address, which router advertisements
// come from.
var LinkLocal = netip.MustParseAddr("fe80::2")

// nic is the number of the stack's only interface.
const nic = 1

// Options say what a network is joined to the host with.
type Options struct {
	usernet.Config                  // its Outbound is each guest's own business
	Nameservers    []netip.AddrPort // of the host; empty: names of guests only
	Route6         bool             // the host can reach IPv6 addresses outside
	Connections    int              // how many connections all guests together may have
}

// Network is a running network.
type Network struct {
	opt   Options
	stack *stack.Stack
	link  *link
	own   []netip.Addr // addresses that are the gateway's

	ports atomic.Pointer[[]*port]
	mu    sync.Mutex // held to change ports
}

// New makes a network without guests.
func New(opt Options) (*Network, error) {
	n := &Network{opt: opt}
	n.ports.Store(&[]*port{})
	n.link = newLink(n)
	n.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{
			arp.NewProtocol,
			ipv4.NewProtocol,
			// A router: it sends no solicitations, and believes no advertisements.
			ipv6.NewProtocolWithOptions(ipv6.Options{}),
		},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	if err := n.configure(); err != nil {
		return nil, fmt.Errorf("network stack: %v", err)
	}
	forward := tcp.NewForwarder(n.stack, connectionBuffer(0), maxPending, n.forwardTCP)
	n.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, forward.HandlePacket)
	n.stack.SetTransportProtocolHandler(udp.ProtocolNumber, n.handleUDP)
	return n, nil
}

func (n *Network) configure() error {
	s := n.stack
	size := connectionBuffer(0)
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(false)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: size, Max: size}
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: size, Max: size}
	wait, linger := tcpip.TCPTimeWaitTimeoutOption(timeWait), tcpip.TCPLingerTimeoutOption(lingerTime)
	tries := tcpip.TCPSynRetriesOption(handshakeTries)
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &send, &receive, &wait, &linger, &tries} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return errors.New(err.String())
		}
	}
	if err := s.CreateNIC(nic, ethernet.New(n.link)); err != nil {
		return errors.New(err.String())
	}
	n.own = []netip.Addr{n.opt.Gateway4(), n.opt.DNS4()}
	if n.opt.Net6.IsValid() {
		n.own = append(n.own, n.opt.Gateway6(), n.opt.DNS6(), LinkLocal)
	}
	for _, a := range n.own {
		prefix := netip.PrefixFrom(a, a.BitLen())
		protocol := tcpip.ProtocolAddress{
			Protocol:          protocolOf(a),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: address(a), PrefixLen: prefix.Bits()},
		}
		if err := s.AddProtocolAddress(nic, protocol, stack.AddressProperties{}); err != nil {
			return errors.New(err.String())
		}
	}
	// It takes packets to any address and answers with that address.
	s.SetPromiscuousMode(nic, true)
	s.SetSpoofing(nic, true)
	s.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nic},
		{Destination: header.IPv6EmptySubnet, NIC: nic},
	})
	return nil
}

// Guest is what joins a network.
type Guest struct {
	Name     string   // for the others, by DNS
	MAC      [6]byte  // that it was told to have; frames from others are dropped
	Frames   *os.File // a seqpacket socket, not blocking: a frame a packet
	Outbound usernet.Outbound
	Listens  []Listen
	// After Idle, unless it is 0, without a connection, datagrams or queries no more are
	// taken from outside and OnIdle is called.
	Idle   time.Duration
	OnIdle func()
}

// Listen is a published port with its socket, which the network closes: one of
// TCP and UDP is set.
type Listen struct {
	Guest uint16
	TCP   *net.TCPListener
	UDP   *net.UDPConn

	file *os.File // TCP's, to wait for connections
	raw  syscall.RawConn
}

// init makes a listener's socket one that can be waited for.
func (l *Listen) init() (err error) {
	if l.TCP == nil {
		return nil
	}
	if l.file, err = l.TCP.File(); err == nil {
		l.raw, err = l.file.SyscallConn()
	}
	return err
}

// Joined says what a guest got.
type Joined struct {
	Name string // as asked for, with a number if another guest has it
	IPv4 netip.Addr
	Done <-chan struct{} // closed when the guest has gone and all of it is cleaned up
}

// Join adds a guest. Its files are the network's from now on, also on error.
func (n *Network) Join(g Guest) (Joined, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := *n.ports.Load()
	p := &port{network: n, mac: g.MAC, file: g.Frames, outbound: g.Outbound, listens: g.Listens,
		idle: g.Idle, onIdle: g.OnIdle, done: make(chan struct{}), born: time.Now()}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	err := p.claim(g.Name, old)
	if err == nil {
		p.raw, err = g.Frames.SyscallConn()
	}
	for i := range p.listens {
		if err == nil {
			err = p.listens[i].init()
		}
	}
	if err != nil {
		p.cancel()
		g.Frames.Close()
		g.CloseListens()
		return Joined{}, err
	}
	p.init()
	ports := append(slices.Clone(old), p)
	n.ports.Store(&ports)
	n.setNeighbor(p.assigned, p.mac)
	go p.run()
	return Joined{p.name, p.assigned, p.done}, nil
}

// claim gives the port a name and an address that no other has.
func (p *port) claim(name string, others []*port) error {
	if len(others) >= maxPorts {
		return fmt.Errorf("the network has %d guests already: no more are possible", len(others))
	}
	if p.mac[0]&1 != 0 || p.mac == [6]byte{} {
		return fmt.Errorf("address %v is not one that a guest can have", net.HardwareAddr(p.mac[:]))
	}
	for _, o := range append([]*port{{mac: MAC}}, others...) {
		if o.mac == p.mac {
			return fmt.Errorf("address %v is taken in this network: give the guest another", net.HardwareAddr(p.mac[:]))
		}
	}
	name = hostName(name)
	p.name = name
	for i := 2; slices.ContainsFunc(others, func(o *port) bool { return o.name == p.name }); i++ {
		p.name = fmt.Sprintf("%s-%d", name, i)
	}
	for i := 0; ; i++ {
		a := p.network.opt.Guest4(i)
		if !a.IsValid() {
			return fmt.Errorf("network %v has no address left for one more guest", p.network.opt.Net4)
		}
		if !slices.ContainsFunc(others, func(o *port) bool { return o.assigned == a || o.holds(a) }) {
			p.assigned = a
			return nil
		}
	}
}

// leave takes a port out, when nothing runs for it any more.
func (n *Network) leave(p *port) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old := *n.ports.Load()
	ports := slices.DeleteFunc(slices.Clone(old), func(o *port) bool { return o == p })
	n.ports.Store(&ports)
	for _, a := range append(p.addresses(), p.assigned) {
		n.stack.RemoveNeighbor(nic, protocolOf(a), address(a))
	}
}

// Guests is the number of guests in the network.
func (n *Network) Guests() int { return len(*n.ports.Load()) }

// portOf returns the port that has address a, or nil.
func (n *Network) portOf(a netip.Addr) *port {
	for _, p := range *n.ports.Load() {
		if p.assigned == a || p.holds(a) {
			return p
		}
	}
	return nil
}

func (n *Network) portOfMAC(mac []byte) *port {
	for _, p := range *n.ports.Load() {
		if string(p.mac[:]) == string(mac) {
			return p
		}
	}
	return nil
}

func (n *Network) isOwn(a netip.Addr) bool { return slices.Contains(n.own, a) }

// inside reports whether a is an address of the network itself.
func (n *Network) inside(a netip.Addr) bool {
	return n.opt.Net4.Contains(a) || n.opt.Net6.IsValid() && n.opt.Net6.Contains(a)
}

// setNeighbor tells the stack who has an address, so that it need not ask a
// guest that has not started yet.
func (n *Network) setNeighbor(a netip.Addr, mac [6]byte) {
	n.stack.AddStaticNeighbor(nic, protocolOf(a), address(a), tcpip.LinkAddress(mac[:]))
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func address(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

// addr is the inverse of address.
func addr(a tcpip.Address) netip.Addr {
	r, _ := netip.AddrFromSlice(a.AsSlice())
	return r
}
