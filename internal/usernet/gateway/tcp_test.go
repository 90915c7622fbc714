package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"gocat/internal/testhost"
)

// loopback lets guests connect to the host's loopback address, by the gateway's.
const loopback = "user,outbound=127.0.0.1"

// echo returns what it is sent, on every connection, after the end of it.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b, err := io.ReadAll(c)
			if err != nil {
				return
			}
			c.Write(b)
		}()
	}
}

// roundTrip sends data, half closes, and returns what comes back.
func roundTrip(c net.Conn, data []byte) ([]byte, error) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() {
		c.Write(data)
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	return io.ReadAll(c)
}

// A guest's connections reach the host where they may, data passes whole both
// ways, and ends are ends.
func TestOutboundTCP(t *testing.T) {
	for mtu, most := range map[string]int{"": 5_000_000, ",mtu=1500": 2_000_000, ",mtu=576": 300_000} {
		n := testNetwork(t, loopback+mtu, nil)
		l, at := hostTCP(t)
		go echo(l)
		in := join(t, n, 1, "web").boot()
		for _, size := range []int{0, 1, most} {
			c, err := in.dial(netip.AddrPortFrom(n.opt.Gateway4(), at.Port()))
			if err != nil {
				t.Fatal(err)
			}
			data := testhost.Random(size)
			got, err := roundTrip(c, data)
			if err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
				t.Errorf("%s, %d bytes: %d came back, %v", mtu, size, len(got), err)
			}
		}
	}
}

// Where a guest may connect to is decided before anything is connected.
func TestOutboundPolicy(t *testing.T) {
	l, at := hostTCP(t)
	accepted := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			c.Close()
		}
	}()
	for spec, want := range map[string]bool{
		"user": false, "user,outbound=all": false, "user,outbound=none": false, "user,outbound=192.0.2.0/24": false,
		"user,outbound=127.0.0.2": false, loopback: true, "user,outbound=all,outbound=127.0.0.0/8": true,
		"user,outbound=192.0.2.1,127.0.0.1": true,
	} {
		n := testNetwork(t, spec, nil)
		in := join(t, n, 1, "web").boot()
		for _, to := range []netip.Addr{n.opt.Gateway4(), n.opt.DNS4()} {
			c, err := in.dial(netip.AddrPortFrom(to, at.Port()))
			if err == nil {
				c.Close()
			}
			may := want && to == n.opt.Gateway4()
			if (err == nil) != may {
				t.Errorf("%s: connection to %v: %v", spec, to, err)
			}
			if may {
				<-accepted
			}
		}
	}
	if len(accepted) != 0 {
		t.Errorf("%d connections reached the host that were not to", len(accepted))
	}
}

// publish returns a published port of the host's, and its address.
func publish(t testing.TB, guest uint16) (Listen, string) {
	t.Helper()
	l, at := hostTCP(t)
	return Listen{Guest: guest, TCP: l}, at.String()
}

// Published ports lead to the guest, whatever address in the network it has, also
// when it begins to listen later.
func TestPublishedTCP(t *testing.T) {
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	p := join(t, n, 1, "web", port)
	data := testhost.Random(3_000_000)
	early := make(chan error)
	go func() {
		c, err := net.Dial("tcp", at)
		if err == nil {
			var got []byte
			if got, err = roundTrip(c, []byte("early")); err == nil && string(got) != "early" {
				err = fmt.Errorf("got %q", got)
			}
		}
		early <- err
	}()
	time.Sleep(50 * time.Millisecond)
	in := p.boot()
	time.Sleep(50 * time.Millisecond)
	go echo(in.listen(80))
	if err := <-early; err != nil {
		t.Errorf("a connection from before the guest listened: %v", err)
	}
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := roundTrip(c, data); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

// A guest that is silent because it has no address yet is asked again soon, each
// time by another connection: the repetition of TCP's own comes after a second.
func TestPublishedSilent(t *testing.T) {
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	p := join(t, n, 1, "web", port)
	for range 3 { // of which one asks
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	const ports, flags, syn = 34, 47, 2
	last := uint16(0)
	for range 4 {
		frame := p.read(30*time.Second, func(b []byte) bool {
			return len(b) > flags && b[12] == 8 && b[13] == 0 && b[23] == 6 && b[flags] == syn &&
				binary.BigEndian.Uint16(b[ports:]) != last
		})
		if frame == nil {
			t.Fatal("no further attempt")
		}
		last = binary.BigEndian.Uint16(frame[ports:])
	}
}

func TestPublishedToOtherAddress(t *testing.T) {
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	in := join(t, n, 1, "web", port).boot(netip.MustParseAddr("10.0.2.77"))
	go echo(in.listen(80))
	// Its stack says where it is as soon as it says anything.
	in.dialUDP(netip.AddrPortFrom(n.opt.DNS4(), 9)).Write([]byte("x"))
	eventually(t, "the guest's address is known", func() bool { return in.port.target() == in.addr })
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := roundTrip(c, []byte("there")); err != nil || string(got) != "there" {
		t.Errorf("%q, %v", got, err)
	}
}

// A port that nobody listens on is refused, when the guest has had its time.
func TestPublishedRefused(t *testing.T) {
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	in := join(t, n, 1, "web", port).boot()
	in.port.heard.Store(true)
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read %d, %v: want an error", n, err)
	}
}

// What a guest sent before it ended arrives, and its connections and ports end.
func TestGuestEnds(t *testing.T) {
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	p := join(t, n, 1, "web", port)
	in := p.boot()
	l := in.listen(80)
	data := testhost.Random(200_000)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Write(data)
	}()
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	got := make([]byte, len(data))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%v", err)
	}
	p.leave()
	if _, err := c.Read(got); err == nil {
		t.Error("data from nowhere")
	}
	<-p.Done
	if c, err := net.Dial("tcp", at); err == nil {
		c.Close()
		t.Error("the published port is still open")
	}
	if n.Guests() != 0 {
		t.Errorf("%d guests are left", n.Guests())
	}
}

// A thousand connections at the same time, all of which work.
func TestManyConnections(t *testing.T) {
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	in := join(t, n, 1, "web", port).boot()
	go echo(in.listen(80))
	const many = 1000
	conns := make([]net.Conn, many)
	for i := range conns {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		conns[i] = c
	}
	eventually(t, "all are connected", func() bool {
		in.port.conns.Lock()
		defer in.port.conns.Unlock()
		return len(in.port.conns.splices) == many
	})
	var wait sync.WaitGroup
	for i, c := range conns {
		wait.Go(func() {
			want := fmt.Sprint("number ", i)
			if got, err := roundTrip(c, []byte(want)); err != nil || string(got) != want {
				t.Errorf("connection %d: %q, %v", i, got, err)
			}
		})
	}
	wait.Wait()
}
