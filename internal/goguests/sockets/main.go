// Command sockets uses sockets in all ways and prints what comes of it, without
// what differs from run to run. On Linux it prints the same: the test compares.
// The only network is the loopback.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	for _, f := range []func(){streams, packets, errorNumbers, options, connections, lookups, interfaces,
		rawSockets, messages, unixRaw, blocking, rights, polling, selecting, duplicates, unixFiles, many} {
		f()
	}
	fmt.Println("done")
}

// must ends the program with what should not have failed.
func must[T any](v T, err error) T {
	if err != nil {
		fmt.Printf("failed: %v\n", err)
		panic(err)
	}
	return v
}

// number is the error number of an error: 0 without one, -1 for one of another
// kind.
func number(err error) string {
	var e syscall.Errno
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &e):
		return unix.ErrnoName(e)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "deadline"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	case errors.Is(err, io.EOF):
		return "EOF"
	}
	return err.Error()
}

// networks are those of streams, and an address to listen on.
var networks = []struct{ name, addr string }{
	{"tcp", "localhost:0"}, {"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", ":0"}, {"unix", "@streams"}, {"unixpacket", "@packets"},
}

// dial connects to a listener, and returns both ends.
func dial(l net.Listener) (client, server net.Conn) {
	network, addr := l.Addr().Network(), l.Addr().String()
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		addr = fmt.Sprintf("127.0.0.1:%d", a.Port)
	}
	client = must(net.Dial(network, addr))
	return client, must(l.Accept())
}

func streams() {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	for _, n := range networks {
		fmt.Println("streams", n.name, n.addr)
		l := must(net.Listen(n.name, n.addr))
		client, server := dial(l)
		fmt.Printf("%T %T %T\n", l, client, client.RemoteAddr())
		fmt.Println(client.LocalAddr().String() == server.RemoteAddr().String(), client.RemoteAddr().String() == server.LocalAddr().String())

		client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := client.Read(make([]byte, 1))
		fmt.Println("read", number(err))
		client.SetReadDeadline(time.Time{})
		if n.name == "unixpacket" {
			client.Write([]byte("whole"))
			b := make([]byte, 3)
			fmt.Println(must(server.Read(b)), string(b))
			client.Close()
			_, err = server.Read(b)
			fmt.Println("end", number(err))
			server.Close()
			l.Close()
			continue
		}
		// Half a connection ends, the other goes on.
		go func() {
			client.Write(data)
			client.(interface{ CloseWrite() error }).CloseWrite()
		}()
		got := must(io.ReadAll(server))
		fmt.Println(len(got), bytes.Equal(got, data))
		go func() {
			server.Write(data)
			server.Close()
		}()
		got = must(io.ReadAll(client))
		fmt.Println(len(got), bytes.Equal(got, data))
		_, err = client.Write(data)
		fmt.Println("write after the end", number(err))
		client.Close()
		_, err = client.Write(data)
		fmt.Println("closed", number(err))
		l.Close()
		_, err = l.Accept()
		fmt.Println("accept", number(err))
		_, err = net.Dial(l.Addr().Network(), l.Addr().String())
		fmt.Println("dial", number(err))
	}
}

func packets() {
	for _, n := range []struct{ name, addr string }{{"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}, {"udp", ":0"}} {
		fmt.Println("packets", n.name, n.addr)
		p := must(net.ListenPacket(n.name, n.addr)).(*net.UDPConn)
		to := p.LocalAddr().(*net.UDPAddr)
		if to.IP.IsUnspecified() {
			to = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: to.Port}
		}
		c := must(net.DialUDP(n.name, nil, to))
		must(c.Write([]byte("hello")))
		b := make([]byte, 3)
		got, from, err := p.ReadFromUDP(b)
		fmt.Println(got, string(b[:got]), number(err), from.Port == c.LocalAddr().(*net.UDPAddr).Port, from.IP)
		must(p.WriteTo([]byte("back"), from))
		b = make([]byte, 100)
		got, err = c.Read(b)
		fmt.Println(got, string(b[:got]), number(err))
		must(c.Write(nil))
		got, _, err = p.ReadFromUDP(b)
		fmt.Println(got, number(err))
		_, err = c.Write(make([]byte, 70000))
		fmt.Println("too long", number(err))
		p.Close()
		c.Write([]byte("nobody"))
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(b)
		fmt.Println("refused", number(err))
		c.Close()
	}
	dir := "@datagram"
	a := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "1", Net: "unixgram"}))
	b := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "2", Net: "unixgram"}))
	must(a.WriteTo([]byte("hello"), b.LocalAddr()))
	buf := make([]byte, 10)
	got, from, err := b.ReadFrom(buf)
	fmt.Println(got, from, err)
	a.Close()
	_, err = b.WriteTo([]byte("hello"), from)
	fmt.Println(number(err))
	b.Close()
}

func errorNumbers() {
	fmt.Println("errors")
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	_, err := net.Listen("tcp", l.Addr().String())
	fmt.Println("in use", number(err))
	u := must(net.ListenPacket("udp", "127.0.0.1:0"))
	_, err = net.ListenPacket("udp", u.LocalAddr().String())
	fmt.Println("in use", number(err))
	_, err = net.Listen("tcp", "10.1.2.3:0")
	fmt.Println("not ours", number(err))
	for _, network := range []string{"tcp", "udp"} {
		_, err = net.Dial(network, "10.1.2.3:80")
		fmt.Println("no route", network, number(err))
		_, err = net.Dial(network, "[2001:db8::1]:80")
		fmt.Println("no route", network, number(err))
	}
	_, err = net.Dial("unix", "@nobody")
	fmt.Println("nobody", number(err))
	_, err = net.Dial("unix", "/nowhere")
	fmt.Println("nowhere", number(err))
	_, err = unix.Socket(unix.AF_INET, 99, 0)
	fmt.Println("type", number(err))
	_, err = unix.Socket(99, unix.SOCK_STREAM, 0)
	fmt.Println("family", number(err))
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP)
	fmt.Println("protocol", number(err))
	fmt.Println("bad", number(unix.Listen(1000, 1)), number(unix.Shutdown(-1, 0)))
	var pipe [2]int
	must(0, unix.Pipe(pipe[:]))
	fmt.Println("no socket", number(unix.Listen(pipe[0], 1)))
	c, s := dial(l)
	s.(*net.TCPConn).SetLinger(0)
	s.Close()
	_, err = c.Read(make([]byte, 1))
	fmt.Println("reset", number(err))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	full := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)) // a backlog that fills: dialling hangs
	must(0, unix.Bind(full, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(0, unix.Listen(full, 1))
	sa := must(unix.Getsockname(full)).(*unix.SockaddrInet4)
	for range 10 {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", sa.Port))
		if err != nil {
			fmt.Println("full", errors.Is(err, context.DeadlineExceeded) || number(err) == "deadline" || err.(net.Error).Timeout())
			break
		}
		defer conn.Close()
	}
}

func lookups() {
	fmt.Println("lookups")
	addrs, err := net.LookupHost("localhost")
	fmt.Println(len(addrs) > 0, err)
	p, err := net.LookupPort("tcp", "https")
	fmt.Println(p, err)
	_, err = net.LookupHost("nothing.example")
	fmt.Println(err != nil)
}

func interfaces() {
	fmt.Println("interfaces")
	all, err := net.Interfaces()
	fmt.Println(len(all) > 0, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			addrs, err := i.Addrs()
			fmt.Println(i.Index, i.MTU, i.Name, i.HardwareAddr, i.Flags, addrs, err)
		}
	}
}

// many has many connections at once, each of which echoes.
func many() {
	fmt.Println("many")
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	var wg sync.WaitGroup
	const connections = 200
	results := make(chan bool, connections)
	for i := range connections {
		wg.Go(func() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				results <- false
				return
			}
			defer c.Close()
			data := bytes.Repeat([]byte{byte(i)}, 10000)
			got := make([]byte, len(data))
			for range 20 {
				c.Write(data)
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
					results <- false
					return
				}
			}
			results <- true
		})
	}
	wg.Wait()
	good := 0
	for range connections {
		if <-results {
			good++
		}
	}
	fmt.Println(good)
}
