package gateway

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// forwardTCP makes a connection that a guest asks for: first the one outside, so
// that the guest learns if it fails, then the guest's.
func (n *Network) forwardTCP(r *tcp.ForwarderRequest) {
	id := r.ID()
	from, to := addr(id.RemoteAddress), netip.AddrPortFrom(addr(id.LocalAddress), id.LocalPort)
	p := n.portOf(from)
	if p == nil || !p.conns.start(n) {
		r.Complete(true)
		return
	}
	p.work.Go(func() {
		defer p.endConnection()
		if n.isDNS(to) {
			if c := p.accept(r); c != nil {
				p.serveDNS(c)
			}
			return
		}
		outside, ok := p.outside(to)
		if !ok {
			r.Complete(true)
			return
		}
		dialer := net.Dialer{Timeout: dialTime}
		host, err := dialer.DialContext(p.ctx, "tcp", outside.String())
		if err != nil {
			r.Complete(true)
			return
		}
		if c := p.accept(r); c != nil {
			p.splice(host.(*net.TCPConn), c)
		} else {
			host.Close()
		}
	})
}

// outside is where on the host's side a guest's connection to an address goes, if
// it may go anywhere. The gateway's address means the host's loopback address,
// for guests that may connect to that.
func (p *port) outside(to netip.AddrPort) (netip.AddrPort, bool) {
	a := to.Addr()
	switch a {
	case p.network.opt.Gateway4():
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case p.network.opt.Gateway6():
		a = netip.IPv6Loopback()
	default:
		if p.network.inside(a) {
			return netip.AddrPort{}, false
		}
	}
	return netip.AddrPortFrom(a, to.Port()), p.outbound.Allows(a)
}

// accept completes the guest's handshake, nil if the guest does not. The stack waits
// for it, but nothing of the network waits for a guest that has gone.
func (p *port) accept(r *tcp.ForwarderRequest) *conn {
	made := make(chan *conn, 1)
	go func() {
		c := &conn{wq: &waiter.Queue{}}
		ep, err := r.CreateEndpoint(c.wq)
		r.Complete(err != nil)
		if err != nil {
			c = nil
		} else {
			c.ep = ep
		}
		made <- c
	}()
	select {
	case c := <-made:
		return c
	case <-p.conns.gone:
		go func() {
			if c := <-made; c != nil {
				c.ep.Abort()
			}
		}()
		return nil
	}
}

// acceptTCP takes connections to a published port.
func (p *port) acceptTCP(l *Listen, guest uint16) {
	first := newLimit(1)
	for {
		if !p.awaits(l) {
			return
		}
		host, err := l.TCP.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed), isTimeout(err):
			return
		case err != nil: // too many descriptors, or a connection that is gone already
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		if !p.conns.start(p.network) {
			reset(host)
			continue
		}
		p.work.Go(func() {
			defer p.endConnection()
			c, err := p.dialGuest(guest, first)
			if err != nil {
				reset(host)
				return
			}
			p.splice(host, c)
		})
	}
}

// awaits waits for a connection, which stays in the socket: if the guest has ended, though
// nobody has read of it yet, others may have it.
func (p *port) awaits(l *Listen) bool {
	err := l.raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
	if err != nil {
		return false
	}
	ended := false
	err = p.raw.Control(func(fd uintptr) { ended = hungUp(int(fd)) })
	return err == nil && !ended
}

// reset closes a connection so that the other side sees an error, not an end.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

// dialGuest connects to a port of the guest. A guest that started a moment ago,
// and has not accepted a connection yet, may not listen yet, or have no address:
// then a refusal does not count, and neither does silence. Only the connection that
// holds the token first finds that out; other connections to the same port wait for it.
func (p *port) dialGuest(guest uint16, first limit) (*conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, dialTime)
	defer cancel()
	select {
	case first <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for wait := patience; !p.heard.Load() && time.Since(p.born) < youth; wait += wait / 8 {
		once, cancel := context.WithTimeout(ctx, wait)
		c, err := p.dialOnce(once, guest)
		if err == nil {
			p.heard.Store(true)
			<-first
			cancel()
			return c, nil
		}
		<-once.Done()
		cancel()
		if ctx.Err() != nil {
			break
		}
	}
	<-first
	return p.dialOnce(ctx, guest)
}

func (p *port) dialOnce(ctx context.Context, guest uint16) (*conn, error) {
	n := p.network
	to, from := p.target(), n.opt.Gateway4()
	if to.Is6() {
		from = n.opt.Gateway6()
	}
	c := &conn{wq: &waiter.Queue{}}
	ep, terr := n.stack.NewEndpoint(tcp.ProtocolNumber, protocolOf(to), c.wq)
	if terr != nil {
		return nil, errors.New(terr.String())
	}
	c.ep = ep
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	c.wq.EventRegister(&entry)
	defer c.wq.EventUnregister(&entry)
	if terr = ep.Bind(tcpip.FullAddress{NIC: nic, Addr: address(from)}); terr == nil {
		terr = ep.Connect(tcpip.FullAddress{NIC: nic, Addr: address(to), Port: guest})
	}
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-ctx.Done():
			ep.Abort()
			return nil, ctx.Err()
		case <-ready:
		}
		terr = ep.LastError()
	}
	if terr != nil {
		ep.Abort()
		return nil, errors.New(terr.String())
	}
	return c, nil
}

// connections counts a port's connections, and ends those that are spliced.
type connections struct {
	sync.Mutex
	n       int
	splices map[*splice]struct{}
	gone    chan struct{} // closed when the guest has gone
}

func (c *connections) init() {
	c.splices = map[*splice]struct{}{}
	c.gone = make(chan struct{})
}

// start counts one more connection if the guest may have it; then endConnection must
// follow.
func (c *connections) start(n *Network) bool {
	c.Lock()
	defer c.Unlock()
	if c.n >= share(n.opt.Connections, n.Guests()) {
		return false
	}
	select {
	case <-c.gone:
		return false
	default:
	}
	c.n++
	return true
}

func (p *port) endConnection() {
	p.use()
	p.conns.Lock()
	p.conns.n--
	p.conns.Unlock()
}

// drain lets what the guest sent before it went reach the other side, and ends
// the connections.
func (c *connections) drain() {
	c.Lock()
	defer c.Unlock()
	close(c.gone)
	for s := range c.splices {
		s.drain()
	}
}
