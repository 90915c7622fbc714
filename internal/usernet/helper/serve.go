package helper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/usernet"
	"gocat/internal/usernet/gateway"
)

// Descriptors that gocat-net serve begins with.
const (
	controlFD  = 3 // to the gocat-net start that started it
	listenerFD = 4 // where other guests of a shared network come to, if it is one
)

// memory is the heap size in bytes from which the garbage collector works harder.
// What guests can make the process hold is bounded otherwise: gateway/limits.go.
const memory = 256 << 20

// serve serves a network until its last guest has gone.
func serve() error {
	// The guest decides when it ends, and with it this process. A terminal or a
	// service manager that ends both must not cut off what the guest said last.
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGUSR1, unix.SIGUSR2)
	os.WriteFile("/proc/self/comm", []byte("gocat-net"), 0) // it is exe until then
	debug.SetMemoryLimit(memory)
	// The guest, and who speaks to it, need processors too; what threads of this
	// process pass to one another costs more than it gains where there are few.
	runtime.GOMAXPROCS(max(1, min(runtime.GOMAXPROCS(0)/2, 4)))

	control, err := unixConn(controlFD)
	if err != nil {
		return err
	}
	var first join
	files, err := receive(control, &first)
	if err != nil {
		return err
	}
	config, _, err := first.Check()
	if err != nil {
		return err
	}
	s := &server{config: config, id: uint32(unix.Geteuid())}
	if config.Network != "" {
		f := os.NewFile(listenerFD, "listener")
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return err
		}
		s.listener = l.(*net.UnixListener)
	}
	s.network, err = gateway.New(gateway.Options{
		Config: config, Nameservers: first.Nameservers, Route6: first.Route6, Connections: connections(),
	})
	if err != nil {
		return s.refuse(control, err)
	}
	// Package net binds sockets, once, to see what the host has: now, while it may.
	if c, err := net.ListenPacket("udp", ":0"); err == nil {
		c.Close()
	}
	layers, err := confineSelf(&config, first.Together, first.Untried)
	if err != nil {
		return s.refuse(control, err)
	}
	s.layers = layers
	if first.Keep {
		err := s.keep(control, &first, files)
		control.Close()
		return err
	}
	done, err := s.join(control, &first, files)
	control.Close()
	if err != nil {
		return err
	}
	if s.listener == nil {
		<-done
		return nil
	}
	s.guests.Go(func() { <-done; s.left() })
	s.accept()
	s.guests.Wait()
	return nil
}

// server is what a process serves a network with.
type server struct {
	config   usernet.Config
	network  *gateway.Network
	listener *net.UnixListener // nil unless the network is shared
	id       uint32            // the user
	layers   []string          // of confinement, for those who want to know
	guests   sync.WaitGroup
	mu       sync.Mutex // held while a guest joins or leaves
	ended    bool
}

// connections is how many connections the process has descriptors for. The Go
// runtime has raised the limit as far as it may.
func connections() int {
	const most, others = 4096, 1200 // UDP flows, pings, listeners, queries
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > most+others {
		return most
	}
	return max(int(limit.Cur)-others, int(limit.Cur)/2)
}

func (s *server) refuse(c *net.UnixConn, err error) error {
	send(c, joined{Error: err.Error()})
	return err
}

// join adds the guest that a message is about, and answers it.
func (s *server) join(c *net.UnixConn, m *join, files []*os.File) (done <-chan struct{}, err error) {
	g := gateway.Guest{Name: m.Guest, MAC: m.MAC}
	config, publish, err := m.Check()
	if err == nil {
		err = s.same(&config)
	}
	others := 1
	if config.Idle > 0 {
		others = 2 // the last one leads to who ends the guest
	}
	if err == nil && len(files) != len(publish)+others {
		err = fmt.Errorf("%d descriptors for %d published ports", len(files), len(publish))
	}
	if err == nil && !carriesFrames(files[0]) {
		err = errors.New("the guest's frames take a Unix socket of packets")
	}
	if err != nil {
		closeAll(files)
		return nil, s.refuse(c, err)
	}
	g.Frames, g.Outbound = files[0], config.Outbound
	for i, p := range publish {
		l, err := listen(p, files[i+1])
		if err != nil {
			closeAll(files)
			g.CloseListens()
			return nil, s.refuse(c, fmt.Errorf("publish %v: %w", p, err))
		}
		g.Listens = append(g.Listens, l)
	}
	if config.Idle > 0 {
		end := files[len(files)-1]
		files = files[:len(files)-1]
		g.Idle, g.OnIdle = config.Idle, func() { end.Write([]byte{usernet.Idle}) }
		defer func() { // the network is ended with its guest, and with that this file is closed
			if err != nil {
				end.Close()
			}
		}()
	}
	closeAll(files[1:])
	j, err := s.network.Join(g)
	if err != nil {
		return nil, s.refuse(c, err)
	}
	if err := send(c, joined{Say: s.say(m, &config, publish, &j)}); err != nil {
		// It has gone, and its end of the frames with it.
		return j.Done, nil
	}
	return j.Done, nil
}

// carriesFrames reports whether a descriptor is what a guest's frames pass through:
// others have no end that reading shows.
func carriesFrames(f *os.File) (yes bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		domain, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
		typ, err2 := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TYPE)
		yes = err == nil && err2 == nil && domain == unix.AF_UNIX && typ == unix.SOCK_SEQPACKET
	})
	return yes
}

// same refuses a guest that wants another network than there is.
func (s *server) same(c *usernet.Config) error {
	switch {
	case c.Net4 != s.config.Net4 || c.Net6 != s.config.Net6:
		return fmt.Errorf("network=%s is %v and %v there: give every guest in it the same net=", c.Network, s.config.Net4, s.config.Net6)
	case c.MTU != s.config.MTU:
		return fmt.Errorf("network=%s has mtu=%d there: give every guest in it the same", c.Network, s.config.MTU)
	}
	return nil
}

// listen makes a published port of its socket.
func listen(p usernet.Publish, f *os.File) (gateway.Listen, error) {
	if p.UDP {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return gateway.Listen{}, err
		}
		u, ok := c.(*net.UDPConn)
		if !ok {
			return gateway.Listen{}, errors.New("not a UDP socket")
		}
		return gateway.Listen{Guest: p.Guest, UDP: u}, nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return gateway.Listen{}, err
	}
	t, ok := l.(*net.TCPListener)
	if !ok {
		return gateway.Listen{}, errors.New("not a TCP socket")
	}
	return gateway.Listen{Guest: p.Guest, TCP: t}, nil
}

// say describes what a guest got.
func (s *server) say(m *join, c *usernet.Config, publish []usernet.Publish, j *gateway.Joined) []string {
	what := "gocat: net '" + m.Device + "': "
	lines := []string{fmt.Sprintf("%suser network: address %v/%d, gateway %v, name server %v, MTU %d", what, j.IPv4, c.Net4.Bits(), c.Gateway4(), c.DNS4(), c.MTU)}
	if c.Net6.IsValid() {
		lines = append(lines, fmt.Sprintf("%sIPv6: %v by router advertisement, gateway %v, name server %v", what, c.Net6, c.Gateway6(), c.DNS6()))
	}
	if c.Network != "" {
		lines = append(lines, fmt.Sprintf("%snetwork %s: guests: %d; this one's name: %s", what, c.Network, s.network.Guests(), j.Name))
	}
	for _, p := range publish {
		lines = append(lines, fmt.Sprintf("%spublished: %v to port %d (%s)", what, p.Host, p.Guest, p.Protocol()))
	}
	outbound := c.Outbound.String()
	if c.Outbound.All {
		outbound += ", but loopback, link-local and multicast addresses only where named"
	}
	lines = append(lines, what+"outbound: "+outbound)
	for _, l := range s.layers {
		lines = append(lines, what+"gocat-net: "+l)
	}
	return lines
}

// maxJoining is how many may be about to join at a time. Those of them that say
// nothing have until answerTimeout; who comes beside them tries again.
const maxJoining = 64

// accept lets guests of the same user join until the last one has left.
func (s *server) accept() {
	joining := make(chan struct{}, maxJoining)
	for {
		c, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // too many descriptors: some guest will end
			continue
		}
		if uid, err := peer(c); err != nil || uid != s.id {
			c.Close()
			continue
		}
		select {
		case joining <- struct{}{}:
		default:
			c.Close()
			continue
		}
		s.guests.Go(func() {
			done := s.admit(c)
			<-joining
			if done != nil {
				<-done
				s.left()
			}
		})
	}
}

// admit hears out who wants to join. Done is closed when the guest has gone, nil if
// there is none.
func (s *server) admit(c *net.UnixConn) (done <-chan struct{}) {
	defer c.Close()
	var m join
	files, err := receive(c, &m)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		closeAll(files)
		return nil
	}
	done, _ = s.join(c, &m, files)
	return done
}

// left ends the network when nobody is in it. Who comes too late finds that
// nobody answers, and makes another.
func (s *server) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.network.Guests() == 0 && !s.ended {
		s.ended = true
		s.listener.Close()
	}
}
