package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"

	"gocat/internal/testhost"
)

// echoUDP returns every datagram.
func echoUDP(c net.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		c.WriteTo(b[:n], from)
	}
}

// exchange sends a datagram until it is answered.
func exchange(t testing.TB, c net.Conn, data []byte) []byte {
	t.Helper()
	b := make([]byte, 1<<16)
	for range 20 {
		if _, err := c.Write(data); err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		c.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := c.Read(b); err == nil {
			return b[:n]
		}
	}
	return nil
}

// Datagrams of every size go out and come back, in fragments where they must.
func TestOutboundUDP(t *testing.T) {
	for _, mtu := range []string{"", ",mtu=1500"} {
		n := testNetwork(t, loopback+mtu, nil)
		host, at := hostUDP(t)
		go echoUDP(host)
		c := join(t, n, 1, "web").boot().dialUDP(netip.AddrPortFrom(n.opt.Gateway4(), at.Port()))
		for _, size := range []int{0, 1, 1400, 9000, 60000} {
			want := testhost.Random(size)
			if got := exchange(t, c, want); string(got) != string(want) {
				t.Errorf("%s, %d bytes: %d came back", mtu, size, len(got))
			}
		}
	}
}

// A published port tells its clients apart.
func TestPublishedUDP(t *testing.T) {
	n := testNetwork(t, "user", nil)
	host, at := hostUDP(t)
	in := join(t, n, 1, "web", Listen{Guest: 53, UDP: host}).boot()
	local := full(netip.AddrPortFrom(in.addr, 53))
	service, err := gonet.DialUDP(in.stack, &local, nil, protocolOf(in.addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	go echoUDP(service)
	for i := range 10 {
		c, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		want := fmt.Sprint("client ", i)
		if got := exchange(t, c, []byte(want)); string(got) != want {
			t.Errorf("%q came back to client %d", got, i)
		}
	}
}

// nameserver answers every query with an address, and counts them.
func nameserver(t testing.TB, answers bool) (netip.AddrPort, *int) {
	t.Helper()
	c, at := hostUDP(t)
	asked := new(int)
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var p dnsmessage.Parser
			h, err := p.Start(b[:n])
			if err != nil {
				continue
			}
			q, err := p.Question()
			if err != nil {
				continue
			}
			*asked++
			if answers {
				c.WriteTo(reply(h, &q, dnsmessage.RCodeSuccess, []netip.Addr{netip.MustParseAddr("192.0.2.7")}), from)
			}
		}
	}()
	return at, asked
}

func query(t testing.TB, name string, typ dnsmessage.Type) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: typ, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answered is an answer in words.
func answered(t testing.TB, b []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		return "no answer: " + err.Error()
	}
	if m.ID != 4711 || !m.Response {
		t.Errorf("answer %+v", m.Header)
	}
	s := m.RCode.String()
	for _, a := range m.Answers {
		switch r := a.Body.(type) {
		case *dnsmessage.AResource:
			s += " " + netip.AddrFrom4(r.A).String()
		case *dnsmessage.AAAAResource:
			s += " " + netip.AddrFrom16(r.AAAA).String()
		}
	}
	return s
}

// Names: those of guests, those that the host's name servers know, and neither.
func TestDNS(t *testing.T) {
	mute, _ := nameserver(t, false)
	server, asked := nameserver(t, true)
	n := testNetwork(t, "user", func(o *Options) { o.Nameservers = []netip.AddrPort{mute, server} })
	in := join(t, n, 1, "web").boot()
	join(t, n, 2, "Data Base")
	c := in.dialUDP(netip.AddrPortFrom(n.opt.DNS4(), 53))
	for _, q := range []struct {
		name string
		typ  dnsmessage.Type
		want string
	}{
		{"web.", dnsmessage.TypeA, "RCodeSuccess 10.0.2.100"},
		{"WEB.internal.", dnsmessage.TypeA, "RCodeSuccess 10.0.2.100"},
		{"data-base.", dnsmessage.TypeA, "RCodeSuccess 10.0.2.101"},
		{"data-base.", dnsmessage.TypeMX, "RCodeSuccess"},
		{"gateway.", dnsmessage.TypeAAAA, "RCodeSuccess fd00::2"},
		{"nobody.internal.", dnsmessage.TypeA, "RCodeNameError"},
	} {
		if got := answered(t, exchange(t, c, query(t, q.name, q.typ))); got != q.want {
			t.Errorf("%s %v: %s, want %s", q.name, q.typ, got, q.want)
		}
	}
	if *asked != 0 {
		t.Errorf("names of the network were asked outside")
	}
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	c.Write(query(t, "example.com.", dnsmessage.TypeA))
	b := make([]byte, 512)
	k, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := answered(t, b[:k]); got != "RCodeSuccess 192.0.2.7" {
		t.Errorf("example.com: %s", got)
	}

	closed := testNetwork(t, "user,outbound=none", func(o *Options) { o.Nameservers = []netip.AddrPort{server} })
	before := *asked
	c = join(t, closed, 1, "web").boot().dialUDP(netip.AddrPortFrom(closed.opt.DNS4(), 53))
	if got := answered(t, exchange(t, c, query(t, "example.com.", dnsmessage.TypeA))); got != "RCodeRefused" || *asked != before {
		t.Errorf("with outbound=none: %s, %d asked outside", got, *asked-before)
	}
}

func TestDNSOverTCP(t *testing.T) {
	n := testNetwork(t, "user", nil)
	in := join(t, n, 1, "web").boot()
	c, err := in.dial(netip.AddrPortFrom(n.opt.DNS4(), 53))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	for range 3 {
		q := query(t, "web.", dnsmessage.TypeA)
		c.Write([]byte{0, byte(len(q))})
		c.Write(q)
		b, err := readMessage(c)
		if got := answered(t, b); err != nil || got != "RCodeSuccess 10.0.2.100" {
			t.Errorf("%s, %v", got, err)
		}
	}
}

// Queries that nobody answers take up no more than they may.
func TestDNSFlood(t *testing.T) {
	mute, _ := nameserver(t, false)
	n := testNetwork(t, "user", func(o *Options) { o.Nameservers = []netip.AddrPort{mute} })
	in := join(t, n, 1, "web").boot()
	c := in.dialUDP(netip.AddrPortFrom(n.opt.DNS4(), 53))
	q := query(t, "example.com.", dnsmessage.TypeA)
	for range 10 * maxQueries {
		c.Write(q)
	}
	eventually(t, "the rest is dropped", func() bool { return in.port.dropped.Load() > 0 })
	if k := len(in.port.asking); k > maxQueries {
		t.Errorf("%d queries wait", k)
	}
	eventually(t, "names of the network are answered again", func() bool {
		c.Write(query(t, "web.", dnsmessage.TypeA))
		b := make([]byte, 512)
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		k, err := c.Read(b)
		return err == nil && answered(t, b[:k]) == "RCodeSuccess 10.0.2.100"
	})
}

// No datagram of a guest's goes to all hosts of a network of the host's.
func TestNoBroadcast(t *testing.T) {
	if c, err := dialUDP(netip.MustParseAddrPort("127.255.255.255:9")); !errors.Is(err, unix.EACCES) {
		t.Errorf("broadcast: %v, %v", c, err)
	}
	c, err := dialUDP(netip.MustParseAddrPort("127.0.0.1:9"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}
