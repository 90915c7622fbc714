package gateway

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// handleUDP takes a datagram of a guest's. If it returns false the stack tells the
// guest that the port is unreachable.
func (n *Network) handleUDP(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	u := header.UDP(pkt.TransportHeader().Slice())
	data := pkt.Data()
	if int(u.Length()) != header.UDPMinimumSize+data.Size() {
		return true
	}
	from := netip.AddrPortFrom(addr(id.RemoteAddress), id.RemotePort)
	to := netip.AddrPortFrom(addr(id.LocalAddress), id.LocalPort)
	p := n.portOf(from.Addr())
	if p == nil || to.Addr().IsMulticast() || to.Addr() == n.opt.Broadcast4() || to.Addr() == everybody {
		return true
	}
	payload := data.AsRange().ToSlice()
	if n.isDNS(to) {
		p.queryUDP(from, to, payload)
		return true
	}
	if to.Addr() == n.opt.Gateway4() || to.Addr() == n.opt.Gateway6() {
		if f := p.flows.published(to.Port()); f != nil {
			return f.guest == from && f.answer(payload)
		}
	}
	outside, ok := p.outside(to)
	if !ok {
		return false
	}
	f := p.flows.outbound(from, to, outside)
	return f != nil && f.send(payload)
}

// flow is a conversation by UDP between a guest and somebody outside.
type flow struct {
	port     *port
	guest    netip.AddrPort
	remote   netip.AddrPort // as the guest addresses it
	conn     *net.UDPConn   // outbound: its own; published: the port's
	client   netip.AddrPort // published: who began it
	used     time.Time
	place    *list.Element
	outbound bool
}

// flows are a port's. The one that was used the longest time ago makes room.
type flows struct {
	sync.Mutex
	port    *port
	out     map[[2]netip.AddrPort]*flow // by guest and remote
	in      map[inKey]*flow
	byPort  map[uint16]*flow // published ones, by the gateway's port
	recent  [2]*list.List    // outbound and published, last used first
	next    uint16
	closing bool
}

type inKey struct {
	client netip.AddrPort
	guest  uint16
	conn   *net.UDPConn
}

func (fs *flows) init(p *port) {
	fs.port = p
	fs.out, fs.in, fs.byPort = map[[2]netip.AddrPort]*flow{}, map[inKey]*flow{}, map[uint16]*flow{}
	fs.recent = [2]*list.List{list.New(), list.New()}
}

func kind(outbound bool) int {
	if outbound {
		return 0
	}
	return 1
}

// add makes room for a flow and puts it first.
func (fs *flows) add(f *flow) {
	l := fs.recent[kind(f.outbound)]
	for l.Len() >= maxFlows {
		fs.remove(l.Back().Value.(*flow))
	}
	f.place = l.PushFront(f)
	f.used = time.Now()
	fs.port.use()
}

func (fs *flows) touch(f *flow) {
	fs.recent[kind(f.outbound)].MoveToFront(f.place)
	f.used = time.Now()
	fs.port.use()
}

// remove forgets a flow; it may be called more than once.
func (fs *flows) remove(f *flow) {
	if f.place == nil {
		return
	}
	fs.recent[kind(f.outbound)].Remove(f.place)
	f.place = nil
	if f.outbound {
		delete(fs.out, [2]netip.AddrPort{f.guest, f.remote})
		f.conn.Close()
		return
	}
	delete(fs.in, inKey{f.client, f.guest.Port(), f.conn})
	delete(fs.byPort, f.remote.Port())
}

func (fs *flows) closeAll() {
	fs.Lock()
	defer fs.Unlock()
	fs.closing = true
	for _, l := range fs.recent {
		for l.Len() > 0 {
			fs.remove(l.Back().Value.(*flow))
		}
	}
}

// outbound returns the flow from a guest's address to a remote one, made if
// needed; nil if that fails.
func (fs *flows) outbound(guest, remote, outside netip.AddrPort) *flow {
	fs.Lock()
	defer fs.Unlock()
	key := [2]netip.AddrPort{guest, remote}
	if f := fs.out[key]; f != nil {
		fs.touch(f)
		return f
	}
	if fs.closing {
		return nil
	}
	conn, err := dialUDP(outside)
	if err != nil {
		return nil
	}
	f := &flow{port: fs.port, guest: guest, remote: remote, conn: conn, outbound: true}
	fs.add(f)
	fs.out[key] = f
	fs.port.work.Go(f.receive)
	return f
}

// dialUDP returns a socket for datagrams to a host. What a guest sends must not reach
// all hosts of a network: package net permits broadcasts, the kernel does not.
func dialUDP(to netip.AddrPort) (*net.UDPConn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		failed := c.Control(func(fd uintptr) {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 0))
		})
		return errors.Join(err, failed)
	}}
	conn, err := d.Dial("udp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// receive passes on what comes back, until the flow is idle or closed.
func (f *flow) receive() {
	fs := &f.port.flows
	defer func() {
		fs.Lock()
		fs.remove(f)
		fs.Unlock()
	}()
	raw, err := f.conn.SyscallConn()
	if err != nil {
		return
	}
	for {
		f.conn.SetReadDeadline(time.Now().Add(udpIdle))
		b, n, err := readPacket(raw)
		switch {
		case err == nil:
			f.port.network.transmitUDP(f.remote, f.guest, (*b)[:n])
			buffers.Put(b)
			fs.Lock()
			if f.place != nil {
				fs.touch(f)
			}
			fs.Unlock()
		case errors.Is(err, unix.ECONNREFUSED): // the next datagram is told
			return
		case isTimeout(err):
			fs.Lock()
			idle := time.Since(f.used)
			fs.Unlock()
			if idle >= udpIdle {
				return
			}
		default:
			return
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// readPacket is readWhenReady for datagrams, which may be empty.
func readPacket(raw syscall.RawConn) (b *[]byte, n int, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		b = buffers.Get().(*[]byte)
		n, err = readNow(fd, *b)
		if err != nil {
			buffers.Put(b)
			b = nil
		}
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		err = waitErr
	}
	return b, n, err
}

// send passes a datagram of the guest's on. It reports false if the other side has
// refused one.
func (f *flow) send(payload []byte) bool {
	_, err := f.conn.Write(payload)
	return !errors.Is(err, unix.ECONNREFUSED)
}

// readUDP takes datagrams to a published port. To the guest they come from ports
// of the gateway's, one for each client.
func (p *port) readUDP(conn *net.UDPConn, guest uint16) {
	buf := make([]byte, 64<<10)
	for {
		n, client, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) || isTimeout(err) {
			return
		}
		if err != nil {
			continue // an error that an earlier answer met
		}
		if f := p.flows.inbound(conn, client, guest); f != nil {
			p.network.transmitUDP(f.remote, f.guest, buf[:n])
		}
	}
}

func (fs *flows) inbound(conn *net.UDPConn, client netip.AddrPort, guest uint16) *flow {
	fs.Lock()
	defer fs.Unlock()
	to := fs.port.target()
	key := inKey{client, guest, conn}
	if f := fs.in[key]; f != nil {
		if f.guest.Addr() == to {
			fs.touch(f)
			return f
		}
		fs.remove(f)
	}
	if fs.closing {
		return nil
	}
	gateway := fs.port.network.opt.Gateway4()
	if to.Is6() {
		gateway = fs.port.network.opt.Gateway6()
	}
	f := &flow{port: fs.port, guest: netip.AddrPortFrom(to, guest), conn: conn, client: client}
	fs.add(f)
	// maxFlows is far less than there are ports, so one is free.
	for {
		fs.next++
		port := firstPort + fs.next%(lastPort-firstPort)
		if fs.byPort[port] == nil {
			f.remote = netip.AddrPortFrom(gateway, port)
			fs.byPort[port] = f
			break
		}
	}
	fs.in[key] = f
	return f
}

// The gateway's ports for clients of published ones (RFC 6335: dynamic ports).
const (
	firstPort = 49152
	lastPort  = 65535
)

// published returns the flow of a client that has the gateway's port, or nil.
func (fs *flows) published(port uint16) *flow {
	fs.Lock()
	defer fs.Unlock()
	f := fs.byPort[port]
	if f != nil {
		fs.touch(f)
	}
	return f
}

// answer sends a datagram of the guest's to the client of a published port.
func (f *flow) answer(payload []byte) bool {
	f.conn.WriteToUDPAddrPort(payload, f.client)
	return true
}
