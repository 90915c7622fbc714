package gateway

import (
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// joinIdle has a guest join that may be idle for a time; idle says how often it was.
func joinIdle(t *testing.T, n *Network, after time.Duration, listens ...Listen) (in *inside, idle *atomic.Int32) {
	t.Helper()
	theirs, fd := socketpair(t)
	idle = &atomic.Int32{}
	p := &peer{TB: t, fd: fd, mac: macOf(1), network: n}
	var err error
	p.Joined, err = n.Join(Guest{Name: "idle", MAC: p.mac, Frames: theirs, Outbound: n.opt.Outbound, Listens: listens,
		Idle: after, OnIdle: func() { idle.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	p.port = n.portOf(p.IPv4)
	t.Cleanup(func() { p.leave(); <-p.Done })
	return p.boot(), idle
}

// A guest is idle when nothing is open or comes for the time, and is told of once. What
// comes after that is left to who has the socket too.
func TestIdle(t *testing.T) {
	const after = 50 * time.Millisecond
	n := testNetwork(t, "user,outbound=all,127.0.0.1", nil)
	l, at := hostTCP(t)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	kept, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	datagrams, datagramsAt := hostUDP(t)
	guest, idle := joinIdle(t, n, after, Listen{Guest: 80, TCP: l}, Listen{Guest: 7, UDP: datagrams})
	go echo(guest.listen(80))
	c, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, err := roundTrip(c, []byte("hello")); err != nil || string(got) != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	never := func(what string) {
		t.Helper()
		if time.Sleep(10 * after); idle.Load() != 0 {
			t.Fatal("idle, though ", what)
		}
	}
	never("a connection is open")
	// One that the guest has made.
	outside, to := hostTCP(t)
	go echo(outside)
	made, err := guest.dial(netip.AddrPortFrom(n.opt.Gateway4(), to.Port()))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	never("a connection of the guest's is open")
	// Each datagram counts.
	client, err := net.Dial("udp", datagramsAt.String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	used := guest.port.used.Load()
	for range 2 {
		client.Write([]byte("ping"))
		eventually(t, "the datagram counts", func() bool { return guest.port.used.Load() > used })
		used = guest.port.used.Load()
	}
	made.Close()
	eventually(t, "the guest is idle", func() bool { return idle.Load() == 1 })
	late, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	client.Write([]byte("late"))
	time.Sleep(3 * after)
	guest.leave()
	<-guest.Done
	if idle.Load() != 1 {
		t.Errorf("told %d times", idle.Load())
	}
	next, err := kept.Accept()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(next, "from the next guest")
	next.Close()
	if got, err := io.ReadAll(late); string(got) != "from the next guest" {
		t.Errorf("%q, %v", got, err)
	}
}

// A guest that nobody ever uses is idle too, and one that ends first is not told of.
func TestIdleUnused(t *testing.T) {
	n := testNetwork(t, "user", nil)
	guest, idle := joinIdle(t, n, time.Millisecond)
	eventually(t, "the guest is idle", func() bool { return idle.Load() == 1 })
	guest.leave()
	<-guest.Done
	guest, idle = joinIdle(t, n, time.Hour)
	guest.leave()
	<-guest.Done
	if idle.Load() != 0 {
		t.Error("idle, though it has ended")
	}
}
