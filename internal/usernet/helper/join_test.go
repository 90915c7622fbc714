package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
	"gocat/internal/usernet"
	"gocat/internal/usernet/gateway"
)

// shared is a shared network that this process serves, with the address where
// others join.
type shared struct {
	*server
	address *net.UnixAddr
	ended   chan struct{}
}

func serveShared(t *testing.T) *shared {
	t.Helper()
	config, err := usernet.Parse("user,network=test")
	if err != nil {
		t.Fatal(err)
	}
	network, err := gateway.New(gateway.Options{Config: config, Connections: 100})
	if err != nil {
		t.Fatal(err)
	}
	s := &shared{address: &net.UnixAddr{Net: "unixpacket", Name: fmt.Sprintf("@gocat-test/%d/%s", os.Getpid(), t.Name())}, ended: make(chan struct{})}
	l, err := net.ListenUnix("unixpacket", s.address)
	if err != nil {
		t.Fatal(err)
	}
	s.server = &server{config: config, network: network, listener: l, id: uint32(unix.Geteuid())}
	go func() {
		s.accept()
		s.guests.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		l.Close()
		<-s.ended
	})
	return s
}

func (s *shared) dial(t *testing.T) *net.UnixConn {
	t.Helper()
	for {
		c, err := net.DialUnix("unixpacket", nil, s.address)
		if errors.Is(err, unix.EAGAIN) { // its queue is full for the moment
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
}

// frames is a pair of sockets for a guest's frames.
func frames(t *testing.T) (guest, theirs int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	return pair[0], pair[1]
}

func request(number byte, publish ...string) join {
	return join{Request: usernet.Request{Spec: "user,network=test", Guest: "web", MAC: [6]byte{2, 0, 0, 0, 0, number}, Publish: publish}}
}

// joins has a guest join as gocat-net start does, leave, and be forgotten.
func (s *shared) joins(t *testing.T) {
	t.Helper()
	guest, theirs := frames(t)
	var answer joined
	var err error
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c := s.dial(t)
		answer, err = ask(c, request(99), []int{theirs})
		c.Close()
		if err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil || answer.Error != "" || len(answer.Say) == 0 {
		t.Errorf("a guest that is right: %+v, %v", answer, err)
		return
	}
	unix.Shutdown(guest, unix.SHUT_RDWR)
}

// stay keeps the network from ending with those that come and go.
func (s *shared) stay(t *testing.T) {
	t.Helper()
	_, theirs := frames(t)
	c := s.dial(t)
	defer c.Close()
	if answer, err := ask(c, request(98), []int{theirs}); err != nil || answer.Error != "" {
		t.Fatalf("%+v, %v", answer, err)
	}
	t.Cleanup(func() { unix.Shutdown(theirs, unix.SHUT_RDWR) })
}

// alone waits until only the guest that stays is left, and nothing is open that was
// not before.
func (s *shared) alone(t *testing.T, most int) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); s.network.Guests() != 1 || descriptors(t) > most; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d guests, %d descriptors, %d were open", s.network.Guests(), descriptors(t), most)
		}
	}
}

// Who comes to a shared network may be any process of the user's: what it says and
// passes is refused in a line or not at all, and others join as ever.
func TestHostileJoiners(t *testing.T) {
	s := serveShared(t)
	s.stay(t)
	file := testhost.Memfd(t)
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	pipe, _ := testhost.Pipe(t)
	guest, theirs := frames(t)
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream[0])
	defer unix.Close(stream[1])
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(udp)
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tcp)
	if err := unix.Listen(tcp, 1); err != nil {
		t.Fatal(err)
	}
	mac := func(m [6]byte) join { j := request(1); j.MAC = m; return j }
	spec := func(spec string) join { j := request(1); j.Spec = spec; return j }
	const notFrames = "the guest's frames take a Unix socket of packets"
	before := descriptors(t)
	for name, test := range map[string]struct {
		m    join
		fds  []int
		want string
	}{
		"no descriptor":        {request(1), nil, "0 descriptors for 0 published ports"},
		"one too many":         {request(1), []int{theirs, theirs}, "2 descriptors for 0 published ports"},
		"one too few":          {request(1, "8080:80"), []int{theirs}, "1 descriptors for 1 published ports"},
		"a file":               {request(1), []int{int(file.Fd())}, notFrames},
		"a device":             {request(1), []int{int(zero.Fd())}, notFrames},
		"a pipe":               {request(1), []int{int(pipe.Fd())}, notFrames},
		"a stream":             {request(1), []int{stream[0]}, notFrames},
		"a datagram socket":    {request(1), []int{udp}, notFrames},
		"a file to publish":    {request(1, "8080:80"), []int{theirs, int(file.Fd())}, "publish 127.0.0.1:8080:80/tcp: "},
		"frames to publish":    {request(1, "8080:80"), []int{theirs, guest}, "publish 127.0.0.1:8080:80/tcp: not a TCP socket"},
		"UDP for TCP":          {request(1, "8080:80"), []int{theirs, udp}, "publish 127.0.0.1:8080:80/tcp: "},
		"TCP for UDP":          {request(1, "8080:80/udp"), []int{theirs, tcp}, "publish 127.0.0.1:8080:80/udp: "},
		"a second that is not": {request(1, "8080:80", "8081:80"), []int{theirs, tcp, udp}, "publish 127.0.0.1:8081:80/tcp: "},
		"the gateway's MAC":    {mac(gateway.MAC), []int{theirs}, "is taken in this network"},
		"a neighbour's MAC":    {mac([6]byte{5: 98, 0: 2}), []int{theirs}, "is taken in this network"},
		"everybody's MAC":      {mac([6]byte{255, 255, 255, 255, 255, 255}), []int{theirs}, "is not one that a guest can have"},
		"nobody's MAC":         {mac([6]byte{}), []int{theirs}, "is not one that a guest can have"},
		"another network":      {spec("user,network=test,net=10.1.0.0/24"), []int{theirs}, "give every guest in it the same net="},
		"no options":           {spec(""), []int{theirs}, "want user, then its options"},
	} {
		c := s.dial(t)
		answer, err := ask(c, test.m, test.fds)
		c.Close()
		if err != nil || !strings.Contains(answer.Error, test.want) || answer.Say != nil {
			t.Errorf("%s: %+v, %v; want %q", name, answer, err, test.want)
		}
	}
	many := make([]int, 240)
	for i := range many {
		many[i] = theirs
	}
	for name, say := range map[string]func(*net.UnixConn){
		"nothing":          func(c *net.UnixConn) { c.WriteMsgUnix(nil, unix.UnixRights(theirs), nil) },
		"garbage":          func(c *net.UnixConn) { c.WriteMsgUnix([]byte("\x00\xff{"), unix.UnixRights(theirs), nil) },
		"deep":             func(c *net.UnixConn) { c.WriteMsgUnix([]byte(strings.Repeat("[", 60000)), nil, nil) },
		"another type":     func(c *net.UnixConn) { c.WriteMsgUnix([]byte(`{"MAC":"x","Publish":7}`), unix.UnixRights(theirs), nil) },
		"too long":         func(c *net.UnixConn) { c.Write(make([]byte, maxMessage+1)) },
		"many descriptors": func(c *net.UnixConn) { c.WriteMsgUnix([]byte("{}"), unix.UnixRights(many...), nil) },
		"an early end":     func(c *net.UnixConn) { c.Close() },
	} {
		c := s.dial(t)
		say(c)
		var answer joined
		if _, err := receive(c, &answer); err == nil {
			t.Errorf("%s: answered %+v", name, answer)
		}
		c.Close()
	}
	s.joins(t)
	s.alone(t, before+2) // the frames of the one that was right
}

// One that joins and does not finish keeps nobody else from joining, not even as many
// as may, and one that is killed at any step leaves nothing.
func TestUnfinishedJoiners(t *testing.T) {
	s := serveShared(t)
	s.stay(t)
	before := descriptors(t)
	var stuck []*net.UnixConn
	for range maxJoining / 2 {
		stuck = append(stuck, s.dial(t))
	}
	s.joins(t)
	for range maxJoining {
		stuck = append(stuck, s.dial(t))
	}
	for _, c := range stuck[maxJoining:] { // those beyond are closed, and may come again
		c.SetReadDeadline(time.Now().Add(answerTimeout / 2))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("beyond the bound: %v", err)
		}
	}
	for _, c := range stuck {
		c.Close()
	}
	s.joins(t)
	for step := range 4 {
		guest, theirs := frames(t)
		c := s.dial(t)
		if step > 0 {
			if err := send(c, request(7), theirs); err != nil {
				t.Fatal(err)
			}
		}
		if step > 1 {
			var answer joined
			if _, err := receive(c, &answer); err != nil {
				t.Fatal(err)
			}
		}
		if step > 2 {
			unix.Write(guest, make([]byte, 60))
		}
		c.Close() // as the kernel does for one that is killed
		unix.Shutdown(guest, unix.SHUT_RDWR)
	}
	s.joins(t)
	s.alone(t, before+2*7) // the frames of seven
}

// What a process says that faces a hostile guest does nothing to a terminal.
func TestPrintable(t *testing.T) {
	if got, want := printable("a\x1b[2J\r\nb\u202ec\u009bd\xffé"), "a [2J  b c d\ufffdé"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzJoin has what joiners may say: what is taken describes a guest that may be.
func FuzzJoin(f *testing.F) {
	for _, m := range []join{request(1), request(2, "8080:80", "[::1]:53:53/udp"), {}} {
		b, err := json.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		f.Fatal(err)
	}
	a, err := unixConn(uintptr(pair[0]))
	if err != nil {
		f.Fatal(err)
	}
	b, err := unixConn(uintptr(pair[1]))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) > maxMessage {
			return
		}
		if _, _, err := a.WriteMsgUnix(message, unix.UnixRights(2), nil); err != nil {
			t.Skip(err)
		}
		var m join
		files, err := receive(b, &m)
		if err != nil {
			return
		}
		defer closeAll(files)
		config, publish, err := m.Check()
		if err != nil {
			return
		}
		if len(files) != 1 || len(publish) > usernet.MaxPublish || !config.Net4.IsValid() || config.MTU < usernet.MinMTU || len(config.Network) > usernet.MaxID {
			t.Errorf("%q: %+v", message, config)
		}
		if err := carriesFrames(files[0]); err {
			t.Error("standard error carries frames")
		}
	})
}
