package gateway

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"gocat/internal/testhost"
)

// frameMemory is what the stack has for the longest frame, at most.
const frameMemory = 128 << 10

// bounds has a row for each number of limits.go. Its flood goes for more than may be
// had and returns what it got: the bound, or less by no more than slack, where what
// is counted does not come one by one.
var bounds = []struct {
	name        string
	most, slack int
	flood       func(*testing.T) int
}{
	{"maxPorts", maxPorts, 0, floodPorts},
	{"maxAddresses", maxAddresses, 0, floodAddresses},
	{"maxQueue", maxQueue, frameMemory, floodQueue},
	{"maxNeighbours", maxNeighbours, frameMemory, func(t *testing.T) int { return floodNeighbours(t, false) }},
	{"maxBroadcast", maxBroadcast, frameMemory, func(t *testing.T) int { return floodNeighbours(t, true) }},
	{"maxPending", maxPending, 0, floodPending},
	{"maxConnections", maxConnections, 0, floodConnections},
	{"maxFlows", maxFlows, 0, floodFlowsOut},
	{"maxFlows", maxFlows, 0, floodFlowsIn},
	{"maxPings", maxPings, 0, floodPings},
	{"maxQueries", maxQueries, 0, floodQueries},
	{"maxName", maxName, 7, floodName}, // the room for a number
}

func TestBounds(t *testing.T) {
	for i, b := range bounds {
		t.Run(fmt.Sprint(i, b.name), func(t *testing.T) {
			if got := b.flood(t); got > b.most || got < b.most-b.slack {
				t.Errorf("a flood got %d, want %d", got, b.most)
			}
		})
	}
}

// Every constant of limits.go is in one of the tables.
func TestBoundsAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "limits.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	for _, b := range bounds {
		tested[b.name] = true
	}
	for _, e := range ends {
		tested[e.name] = true
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				if !tested[name.Name] {
					t.Errorf("%s has no row in bounds or ends", name.Name)
				}
				delete(tested, name.Name)
			}
		}
		return true
	})
	for name := range tested {
		t.Errorf("%s is tested, and no constant of limits.go", name)
	}
}

// still has the gateway answer, after it has seen all that the guest sent before.
func (p *peer) still() {
	p.Helper()
	p.write(arpFrame(p.mac, 1, p.IPv4, p.network.opt.Gateway4()))
	if p.read(20*time.Second, isARP(2, p.network.opt.Gateway4())) == nil {
		p.Error("the gateway does not answer any more")
	}
}

func floodPorts(t *testing.T) int {
	n := testNetwork(t, "user", nil)
	for i := range maxPorts {
		join(t, n, byte(i), "web")
	}
	theirs, fd := socketpair(t)
	defer unix.Close(fd)
	if _, err := n.Join(Guest{Name: "web", MAC: macOf(200), Frames: theirs}); err == nil {
		t.Error("one more has joined")
	}
	return n.Guests()
}

func floodAddresses(t *testing.T) int {
	n := testNetwork(t, "user,net=10.0.0.0/16", nil)
	p := join(t, n, 1, "web")
	for i := range 1000 {
		p.write(arpFrame(p.mac, 2, netip.AddrFrom4([4]byte{10, 0, 5, 1 + byte(i%250)}), p.IPv4))
		a := netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(i >> 8), 15: 10 + byte(i%240)})
		p.write(ip6Frame(p.mac, broadcast, icmp6, netip.IPv6Unspecified(), allNodes, neighbor(135, a, 0, MAC)...))
	}
	p.still() // from the assigned address, which takes one's place
	known, err := n.stack.Neighbors(nic, header.IPv4ProtocolNumber)
	if err != nil || len(known) > maxAddresses+1 {
		t.Errorf("%d neighbours, %v", len(known), err)
	}
	most := map[bool]int{}
	for _, a := range p.port.addresses() {
		most[a.Is4()]++
	}
	return max(most[true], most[false])
}

// waiting is how much waits for a guest.
func (p *port) waiting() int {
	p.queue.Lock()
	defer p.queue.Unlock()
	return p.queue.bytes
}

// floodQueue has a guest ask the gateway for more than it reads.
func floodQueue(t *testing.T) (most int) {
	p := join(t, testNetwork(t, "user", nil), 1, "deaf")
	echo := make([]byte, 60000)
	echo[0] = byte(header.ICMPv4Echo)
	header.ICMPv4(echo).SetChecksum(header.ICMPv4Checksum(echo, 0))
	frame := ip4Frame(p.mac, MAC, 1, p.IPv4, p.network.opt.Gateway4(), 0, echo...)
	eventually(t, "answers are lost", func() bool {
		p.write(frame)
		most = max(most, p.port.waiting())
		return p.port.dropped.Load() > 100
	})
	p.still()
	return most
}

// floodNeighbours sends to a guest that does not read.
func floodNeighbours(t *testing.T, all bool) (most int) {
	n := testNetwork(t, "user", nil)
	deaf, bad := join(t, n, 1, "deaf"), join(t, n, 2, "bad")
	to := deaf.mac
	if all {
		to = broadcast
	}
	frame := ip4Frame(bad.mac, to, udpNumber, bad.IPv4, deaf.IPv4, 0, make([]byte, 60000)...)
	eventually(t, "frames are lost", func() bool {
		bad.write(frame)
		most = max(most, deaf.port.waiting())
		return deaf.port.dropped.Load() > 100
	})
	// The gateway's frames have room beside those, for either.
	bad.still()
	deaf.still()
	return most
}

// silent is a port of the host's loopback address that neither takes nor refuses
// connections, because as many wait there as may.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(sa.(*unix.SockaddrInet4).Port))
	for {
		c, err := net.DialTimeout("tcp", at.String(), 100*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { c.Close() })
	}
}

// syn is the beginning of a connection, of which nothing more comes.
func syn(p *peer, from uint16, to netip.AddrPort) []byte {
	h := header.TCP(make([]byte, header.TCPMinimumSize))
	h.Encode(&header.TCPFields{SrcPort: from, DstPort: to.Port(), SeqNum: 1, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn, WindowSize: 60000})
	return ip4Frame(p.mac, MAC, 6, p.IPv4, to.Addr(), 0, h...)
}

// floodPending begins connections that the host's side answers to, whose handshakes
// the guest does not complete, and ones that it does not answer to.
func floodPending(t *testing.T) int {
	n := testNetwork(t, loopback, nil)
	p := join(t, n, 1, "web")
	answers, at := hostTCP(t)
	go echo(answers)
	for i, host := range []netip.AddrPort{at, silent(t)} {
		to := netip.AddrPortFrom(n.opt.Gateway4(), host.Port())
		for port := range uint16(maxPending) {
			p.write(syn(p, 1000+uint16(i)*maxPending+port, to))
		}
	}
	eventually(t, "as many as may are begun", func() bool { return p.port.conns.count() >= maxPending })
	p.still()
	return p.port.conns.count()
}

func (c *connections) count() int {
	c.Lock()
	defer c.Unlock()
	return c.n
}

// floodConnections has the host's side hold more connections than there may be.
func floodConnections(t *testing.T) int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur < 3*maxConnections {
		testhost.Skip(t, "three descriptors for each connection: ulimit -n 8192")
	}
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	in := join(t, n, 1, "web", port).boot()
	in.port.heard.Store(true)
	l := in.listen(80)
	go func() {
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	for range maxConnections {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	conns := &in.port.conns
	eventually(t, "all are connected", func() bool { return conns.count() == maxConnections })
	for range 20 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			continue // it was quick
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF || os.IsTimeout(err) {
			t.Errorf("one more connection: %v, want an error", err)
		}
	}
	return conns.count()
}

// Guests share the connections that there are.
func TestShare(t *testing.T) {
	n := testNetwork(t, "user", func(o *Options) { o.Connections = 20 })
	a, b := join(t, n, 1, "a"), join(t, n, 2, "b")
	for _, p := range []*peer{a, b} {
		got := 0
		for p.port.conns.start(n) {
			got++
		}
		if got != 10 {
			t.Errorf("%s has %d connections of 20", p.Joined.Name, got)
		}
	}
}

// What connections may buffer is as documented, and the stack is told.
func TestConnectionBuffers(t *testing.T) {
	sum := 0
	for i := range maxConnections {
		sum += connectionBuffer(i)
	}
	if sum != 88<<20 {
		t.Errorf("%d MiB each way for all connections", sum>>20)
	}
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	in := join(t, n, 1, "web", port).boot()
	in.port.heard.Store(true)
	go echo(in.listen(80))
	const many = 70 // three kinds
	most := 0
	for i := range many {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go c.Write(make([]byte, 8<<20))
		most += connectionBuffer(i + 1)
	}
	conns, got := &in.port.conns, 0
	eventually(t, "all have buffers", func() bool {
		conns.Lock()
		defer conns.Unlock()
		got = 0
		for s := range conns.splices {
			size := int(s.ep.SocketOptions().GetReceiveBufferSize())
			if send := int(s.ep.SocketOptions().GetSendBufferSize()); send > size {
				t.Errorf("%d to send, %d to receive", send, size)
			}
			if waits, err := s.ep.GetSockOptInt(tcpip.SendQueueSizeOption); err == nil && waits > size+frameMemory {
				t.Errorf("%d wait to be sent in %d", waits, size)
			}
			got += size
		}
		return len(conns.splices) == many
	})
	// Of those that come at once, each may count the others.
	if got > most || got < many*connectionBuffer(many) {
		t.Errorf("buffers of %d connections have %d bytes each way, at most %d were to be", many, got, most)
	}
}

// floodFlowsOut asks from many ports; the oldest flows make room, the newest works.
func floodFlowsOut(t *testing.T) int {
	n := testNetwork(t, loopback, nil)
	host, at := hostUDP(t)
	go echoUDP(host)
	in := join(t, n, 1, "web").boot()
	for range maxFlows + 100 {
		remote := full(netip.AddrPortFrom(n.opt.Gateway4(), at.Port()))
		c, err := gonet.DialUDP(in.stack, nil, &remote, protocolOf(in.addr))
		if err != nil {
			t.Fatal(err)
		}
		if got := exchange(t, c, []byte("x")); string(got) != "x" {
			t.Fatal("no answer")
		}
		c.Close()
	}
	fs := &in.port.flows
	fs.Lock()
	defer fs.Unlock()
	return max(len(fs.out), fs.recent[0].Len())
}

// floodFlowsIn does the same from the host's side, at a published port.
func floodFlowsIn(t *testing.T) int {
	n := testNetwork(t, "user", nil)
	host, at := hostUDP(t)
	in := join(t, n, 1, "web", Listen{Guest: 7, UDP: host}).boot()
	local := full(netip.AddrPortFrom(in.addr, 7))
	service, err := gonet.DialUDP(in.stack, &local, nil, protocolOf(in.addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close() })
	go echoUDP(service)
	for range maxFlows + 100 {
		c, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		if got := exchange(t, c, []byte("x")); string(got) != "x" {
			t.Fatal("no answer")
		}
		defer c.Close() // not yet: a port that is used again is the same flow
	}
	fs := &in.port.flows
	fs.Lock()
	defer fs.Unlock()
	if len(fs.byPort) != len(fs.in) {
		t.Errorf("%d flows have %d ports", len(fs.in), len(fs.byPort))
	}
	return max(len(fs.in), fs.recent[1].Len())
}

// pingable moves the test to where users may send pings, which nobody answers.
func pingable(t *testing.T) {
	testhost.NeedRoot(t, "for a network namespace in which pings are not answered")
	testhost.Netns(t)
	testhost.Up(t, "lo", 65536)
	for name, value := range map[string]string{"ping_group_range": "0 2147483647", "icmp_echo_ignore_all": "1"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// ping asks on the test's own thread, whose network that is.
func ping(p *peer) bool {
	return p.port.pingOut(p.IPv4, netip.AddrFrom4([4]byte{127, 0, 0, 1}), []byte{byte(header.ICMPv4Echo), 0, 0, 0, 0, 1, 0, 1})
}

func floodPings(t *testing.T) (sent int) {
	pingable(t)
	p := join(t, testNetwork(t, loopback, nil), 1, "web")
	for range 3 * maxPings {
		if ping(p) {
			sent++
		}
	}
	p.still()
	return sent
}

// floodQueries asks what nobody answers.
func floodQueries(t *testing.T) (most int) {
	mute, _ := nameserver(t, false)
	n := testNetwork(t, "user", func(o *Options) { o.Nameservers = []netip.AddrPort{mute} })
	in := join(t, n, 1, "web").boot()
	c := in.dialUDP(netip.AddrPortFrom(n.opt.DNS4(), 53))
	q := query(t, "example.com.", dnsmessage.TypeA)
	eventually(t, "the rest is dropped", func() bool {
		c.Write(q)
		most = max(most, len(in.port.asking))
		return in.port.dropped.Load() > maxQueries
	})
	return most
}

// floodName has a name that is as long as can be, many times.
func floodName(t *testing.T) (longest int) {
	n := testNetwork(t, "user", nil)
	for i := range 12 {
		p := join(t, n, byte(i), strings.Repeat("long", 100))
		longest = max(longest, len(p.Joined.Name))
	}
	return longest
}

// Pieces of packets that never become whole take up what the stack allows, 4 MiB. What
// earlier tests have left may go meanwhile, and then this one says nothing.
func TestFragmentsFlood(t *testing.T) {
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	got := 0
	for range 20 {
		n := testNetwork(t, "user", nil)
		p := join(t, n, 1, "web")
		before := heap()
		frame := ip4Frame(p.mac, MAC, udpNumber, p.IPv4, n.opt.Gateway4(), 0x2000, make([]byte, 60000)...)
		for i := range 1000 {
			frame := slices.Clone(frame)
			ip := header.IPv4(frame[14:])
			ip.SetID(uint16(i))
			ip.SetChecksum(0)
			ip.SetChecksum(^ip.CalculateChecksum())
			p.write(frame)
		}
		p.still()
		if got = heap() - before; got >= 2<<20 && got <= 8<<20 {
			return
		}
		time.Sleep(time.Second)
	}
	t.Errorf("60 MB of fragments take up %d KiB", got>>10)
}
