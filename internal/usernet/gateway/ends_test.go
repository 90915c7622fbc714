package gateway

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"gocat/internal/testhost"
)

// ends has a row for each time of limits.go: what ends by itself after it. None of
// them measures the time.
var ends = []struct {
	name string
	test func(*testing.T)
}{
	{"dialTime", endDial},
	{"youth", endYouth},
	{"patience", TestPublishedSilent},
	{"udpIdle", endFlow},
	{"pingIdle", endPing},
	{"queryTime", TestDNS},
	{"timeWait", endClosed},
	{"lingerTime", endLinger},
	{"unacked", endUnacked},
	{"handshakeTries", endHandshake},
	{"drainTime", endDrain},
}

func TestEnds(t *testing.T) {
	testhost.Slow(t)
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			e.test(t)
		})
	}
}

// finally waits for longer than any of the times.
func finally(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * udpIdle); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: ", what)
		}
	}
}

// none waits until a guest has no connection.
func (p *peer) none() {
	p.Helper()
	finally(p.TB.(*testing.T), "the guest has no connection", func() bool { return p.port.conns.count() == 0 })
}

// The other side neither accepts nor refuses a connection: the guest hears of it.
func endDial(t *testing.T) {
	n := testNetwork(t, loopback, nil)
	p := join(t, n, 1, "web")
	p.write(syn(p, rawPort, netip.AddrPortFrom(n.opt.Gateway4(), silent(t).Port())))
	if p.read(3*dialTime, func(b []byte) bool { return len(b) > 47 && b[23] == 6 && b[47]&byte(header.TCPFlagRst) != 0 }) == nil {
		t.Error("no reset")
	}
	p.none()
}

// A guest that refuses is not young for ever.
func endYouth(t *testing.T) {
	port, at := publish(t, 80)
	join(t, testNetwork(t, "user", nil), 1, "web", port).boot()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("%v, want an error", err)
	}
}

// A conversation by UDP that nobody goes on with.
func endFlow(t *testing.T) {
	n := testNetwork(t, loopback, nil)
	host, at := hostUDP(t)
	go echoUDP(host)
	in := join(t, n, 1, "web").boot()
	if exchange(t, in.dialUDP(netip.AddrPortFrom(n.opt.Gateway4(), at.Port())), []byte("x")) == nil {
		t.Fatal("no answer")
	}
	fs := &in.port.flows
	finally(t, "the flow has ended", func() bool {
		fs.Lock()
		defer fs.Unlock()
		return len(fs.out) == 0 && fs.recent[0].Len() == 0
	})
}

// A ping that nobody answers.
func endPing(t *testing.T) {
	pingable(t)
	p := join(t, testNetwork(t, loopback, nil), 1, "web")
	if !ping(p) {
		t.Fatal("not sent")
	}
	finally(t, "the ping has ended", func() bool {
		p.port.pings.Lock()
		defer p.port.pings.Unlock()
		return len(p.port.pings.open) == 0
	})
}

// A connection that both sides have closed.
func endClosed(t *testing.T) {
	port, at := publish(t, 80)
	in := join(t, testNetwork(t, "user", nil), 1, "web", port).boot()
	go echo(in.listen(80))
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := roundTrip(c, []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
	in.none()
}

// raw makes a connection of a guest's, and the host's end of it.
func raw(t *testing.T) (*rawTCP, *net.TCPConn) {
	n := testNetwork(t, loopback, nil)
	l, to := hostTCP(t)
	c := &rawTCP{peer: join(t, n, 1, "web"), to: netip.AddrPortFrom(n.opt.Gateway4(), to.Port()), seq: 1000}
	c.connect()
	host, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return c, host
}

// A connection that both sides end, and the guest does not acknowledge the other's.
func endLinger(t *testing.T) {
	c, host := raw(t)
	c.segment(header.TCPFlagAck|header.TCPFlagFin, nil)
	host.Close()
	c.none()
}

// A guest that acknowledges nothing.
func endUnacked(t *testing.T) {
	c, host := raw(t)
	if _, err := host.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	host.SetReadDeadline(time.Now().Add(3 * unacked))
	if _, err := host.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("%v, want an error", err)
	}
	c.none()
}

// A guest that begins a connection and does not complete its handshake.
func endHandshake(t *testing.T) {
	n := testNetwork(t, loopback, nil)
	l, to := hostTCP(t)
	go echo(l)
	p := join(t, n, 1, "web")
	p.write(syn(p, rawPort, netip.AddrPortFrom(n.opt.Gateway4(), to.Port())))
	if p.read(20*time.Second, func(b []byte) bool { return len(b) > 47 && b[23] == 6 && b[47]&byte(header.TCPFlagSyn) != 0 }) == nil {
		t.Error("no answer")
	}
	p.none()
}

// A guest that ends while the other side does not take what it sent.
func endDrain(t *testing.T) {
	c, _ := raw(t)
	for c.receive(100*time.Millisecond) != nil || int32(c.edge-c.seq) > 0 {
		for int32(c.edge-c.seq) > 0 {
			c.segment(header.TCPFlagAck|header.TCPFlagPsh, nil, make([]byte, min(c.edge-c.seq, 9000))...)
		}
	}
	c.leave()
	<-c.Done
}
