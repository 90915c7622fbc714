package gateway

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// dnsPort is the port of name servers.
const dnsPort = 53

// nameTime is for how many seconds others may remember a guest's name.
const nameTime = 5

func (n *Network) isDNS(to netip.AddrPort) bool {
	return to.Port() == dnsPort && (to.Addr() == n.opt.DNS4() || to.Addr() == n.opt.DNS6())
}

// queryUDP answers a guest's query, if it has not too many open.
func (p *port) queryUDP(from, to netip.AddrPort, query []byte) {
	if !p.asking.start() {
		p.dropped.Add(1)
		return
	}
	p.use()
	p.work.Go(func() {
		defer p.asking.end()
		if answer := p.resolve(query, "udp"); answer != nil {
			p.network.transmitUDP(to, from, answer)
		}
	})
}

// resolve answers a query: for a name of the network itself, or as one of the
// host's name servers does. It returns nil for what is no query.
func (p *port) resolve(query []byte, network string) []byte {
	var parser dnsmessage.Parser
	h, err := parser.Start(query)
	if err != nil || h.Response {
		return nil
	}
	q, err := parser.Question()
	if err != nil {
		return reply(h, nil, dnsmessage.RCodeFormatError, nil)
	}
	if addresses, ok := p.network.lookup(q.Name.String()); ok {
		return reply(h, &q, dnsmessage.RCodeSuccess, addresses)
	}
	if strings.HasSuffix(strings.ToLower(q.Name.String()), "."+domain+".") {
		return reply(h, &q, dnsmessage.RCodeNameError, nil)
	}
	if p.outbound.None() {
		return reply(h, &q, dnsmessage.RCodeRefused, nil)
	}
	for _, server := range p.network.opt.Nameservers {
		if answer, err := ask(p.ctx, server, network, query); err == nil {
			return answer
		}
		if p.ctx.Err() != nil {
			return nil
		}
	}
	return reply(h, &q, dnsmessage.RCodeServerFailure, nil)
}

// lookup finds a name of the network: a guest's, or gateway.
func (n *Network) lookup(name string) (addresses []netip.Addr, ok bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	name = strings.TrimSuffix(name, "."+domain)
	if name == gatewayName {
		return []netip.Addr{n.opt.Gateway4(), n.opt.Gateway6()}, true
	}
	for _, p := range *n.ports.Load() {
		if p.name != name {
			continue
		}
		addresses = []netip.Addr{p.assigned}
		for _, a := range p.addresses() {
			if a.Is4() && a != p.assigned {
				addresses = []netip.Addr{a} // it has chosen another
			}
		}
		for _, a := range p.addresses() {
			if a.Is6() && n.opt.Net6.Contains(a) {
				addresses = append(addresses, a)
			}
		}
		return addresses, true
	}
	return nil, false
}

// Names beside those of guests. What ends in the domain is never asked outside
// (RFC 9476: it is for such uses).
const (
	gatewayName = "gateway"
	domain      = "internal"
)

// hostName makes a name for DNS of a guest's.
func hostName(s string) string {
	b := []byte(strings.ToLower(s[:min(len(s), maxName-8)])) // room for a number
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			b[i] = '-'
		}
	}
	if s = strings.Trim(string(b), "-"); s == "" || s == gatewayName || s == "localhost" {
		return "guest"
	}
	return s
}

// reply composes an answer of the network's own.
func reply(h dnsmessage.Header, q *dnsmessage.Question, code dnsmessage.RCode, addresses []netip.Addr) []byte {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{
		ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true, RCode: code,
	})
	b.EnableCompression()
	if q != nil {
		b.StartQuestions()
		b.Question(*q)
		b.StartAnswers()
		head := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: nameTime}
		for _, a := range addresses {
			switch {
			case a.Is4() && q.Type == dnsmessage.TypeA:
				b.AResource(head, dnsmessage.AResource{A: a.As4()})
			case a.Is6() && q.Type == dnsmessage.TypeAAAA:
				b.AAAAResource(head, dnsmessage.AAAAResource{AAAA: a.As16()})
			}
		}
	}
	answer, err := b.Finish()
	if err != nil {
		return nil
	}
	return answer
}

// ask asks a name server and returns its answer to this query.
func ask(ctx context.Context, server netip.AddrPort, network string, query []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
	defer stop()
	if network == "tcp" {
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
			return nil, err
		}
		return readMessage(c)
	}
	if _, err := c.Write(query); err != nil {
		return nil, err
	}
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, err := c.Read(*b)
		if err != nil {
			return nil, err
		}
		if n >= 2 && string((*b)[:2]) == string(query[:2]) { // the query's number
			return append([]byte(nil), (*b)[:n]...), nil
		}
	}
}

// readMessage reads a message as TCP carries it, after its length.
func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// serveDNS answers queries on a guest's connection, one after the other.
func (p *port) serveDNS(c *conn) {
	s := &splice{conn: c, gone: p.conns.gone}
	defer s.close()
	for {
		query, err := readMessage(s)
		if err != nil {
			return
		}
		answer := p.resolve(query, "tcp")
		if answer == nil {
			return
		}
		if _, err := s.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// Read reads what the guest sent, waiting for it at most udpIdle.
func (s *splice) Read(b []byte) (n int, err error) {
	w := tcpip.SliceWriter(b)
	return s.wait(waiter.ReadableEvents, func() (int, tcpip.Error) {
		r, err := s.ep.Read(&w, tcpip.ReadOptions{})
		return r.Count, err
	})
}

// Write writes b to the guest, waiting at most udpIdle for each piece.
func (s *splice) Write(b []byte) (n int, err error) {
	for n < len(b) {
		r := strings.NewReader(string(b[n:]))
		k, err := s.wait(waiter.WritableEvents, func() (int, tcpip.Error) {
			k, err := s.ep.Write(r, tcpip.WriteOptions{})
			return int(k), err
		})
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// wait makes a call, again and again while it would have to wait.
func (s *splice) wait(events waiter.EventMask, call func() (int, tcpip.Error)) (int, error) {
	entry, ready := waiter.NewChannelEntry(events | waiter.EventErr | waiter.EventHUp)
	s.wq.EventRegister(&entry)
	defer s.wq.EventUnregister(&entry)
	idle := time.NewTimer(udpIdle)
	defer idle.Stop()
	for {
		n, err := call()
		if err == nil {
			return n, nil
		}
		if _, full := err.(*tcpip.ErrWouldBlock); !full {
			return 0, io.EOF
		}
		select {
		case <-ready:
		case <-idle.C:
			return 0, io.ErrUnexpectedEOF
		case <-s.gone:
			return 0, io.ErrUnexpectedEOF
		}
	}
}
