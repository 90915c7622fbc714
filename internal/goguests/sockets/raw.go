package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// options sets them, and reads them back.
func options() {
	fmt.Println("options")
	tcp := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0))
	tcp6 := must(unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0))
	udp := must(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0))
	for _, o := range []struct{ fd, level, name, value int }{
		{tcp, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}, {tcp, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1},
		{tcp, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {udp, unix.SOL_SOCKET, unix.SO_BROADCAST, 1},
		{tcp, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {tcp, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 30},
		{tcp, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 5}, {tcp, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		{tcp, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 3000}, {tcp, unix.IPPROTO_TCP, unix.TCP_CORK, 1},
		{tcp, unix.IPPROTO_IP, unix.IP_TTL, 9}, {tcp, unix.IPPROTO_IP, unix.IP_TOS, 16},
		{tcp6, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1}, {tcp6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 7},
		{udp, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 3}, {udp, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
		{udp, unix.IPPROTO_IP, unix.IP_PKTINFO, 1}, {udp, unix.IPPROTO_IP, unix.IP_RECVTOS, 1},
	} {
		err := unix.SetsockoptInt(o.fd, o.level, o.name, o.value)
		v, err2 := unix.GetsockoptInt(o.fd, o.level, o.name)
		fmt.Println(o.level, o.name, number(err), v, number(err2))
	}
	for _, o := range []struct{ fd, level, name int }{
		{tcp, unix.SOL_SOCKET, unix.SO_TYPE}, {tcp, unix.SOL_SOCKET, unix.SO_DOMAIN}, {tcp6, unix.SOL_SOCKET, unix.SO_DOMAIN},
		{udp, unix.SOL_SOCKET, unix.SO_TYPE}, {udp, unix.SOL_SOCKET, unix.SO_PROTOCOL}, {tcp, unix.SOL_SOCKET, unix.SO_PROTOCOL},
		{tcp, unix.SOL_SOCKET, unix.SO_ERROR}, {tcp, unix.SOL_SOCKET, unix.SO_ACCEPTCONN},
		{udp, unix.IPPROTO_TCP, unix.TCP_NODELAY}, {tcp, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY}, {tcp, unix.SOL_SOCKET, 9999},
		{tcp, 9999, 1},
	} {
		v, err := unix.GetsockoptInt(o.fd, o.level, o.name)
		fmt.Println(o.level, o.name, v, number(err))
	}
	must(0, unix.SetsockoptInt(tcp, unix.SOL_SOCKET, unix.SO_RCVBUF, 100000))
	fmt.Println(must(unix.GetsockoptInt(tcp, unix.SOL_SOCKET, unix.SO_RCVBUF)))
	must(0, unix.SetsockoptLinger(tcp, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 3}))
	tv := unix.Timeval{Sec: 1, Usec: 500000}
	must(0, unix.SetsockoptTimeval(tcp, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	got := must(unix.GetsockoptTimeval(tcp, unix.SOL_SOCKET, unix.SO_RCVTIMEO))
	fmt.Println(got.Sec, got.Usec)
	flags := must(unix.FcntlInt(uintptr(tcp), unix.F_GETFL, 0))
	fmt.Println(flags&unix.O_NONBLOCK != 0, must(unix.FcntlInt(uintptr(tcp), unix.F_GETFD, 0)))
	var st unix.Stat_t
	must(0, unix.Fstat(tcp, &st))
	_, err := unix.Seek(tcp, 0, 0)
	fmt.Printf("%#o %s\n", st.Mode, number(err))
	for _, fd := range []int{tcp, tcp6, udp} {
		fmt.Println(number(unix.Close(fd)))
	}
	fmt.Println(number(unix.Close(udp)))
}

// connections are what programs do beside reading and writing.
func connections() {
	fmt.Println("connections")
	lc := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		fmt.Println("control", network)
		return c.Control(func(fd uintptr) {
			must(0, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		})
	}}
	l := must(lc.Listen(context.Background(), "tcp", "127.0.0.1:0"))
	other := must(lc.Listen(context.Background(), "tcp", l.Addr().String()))
	other.Close()
	c, s := dial(l)
	tc := c.(*net.TCPConn)
	fmt.Println(number(tc.SetNoDelay(false)), number(tc.SetKeepAlivePeriod(time.Minute)), number(tc.SetReadBuffer(1<<16)))
	f := must(tc.File())
	must(f.Write([]byte("by the file")))
	f.Close()
	must(c.Write([]byte(", and by the connection")))
	b := make([]byte, 100)
	n := 0
	for n < 34 {
		n += must(s.Read(b[n:]))
	}
	fmt.Println(string(b[:n]))
	again := must(net.FileListener(must(l.(*net.TCPListener).File())))
	l.Close()
	c2, s2 := dial(again)
	buffers := net.Buffers{[]byte("one "), []byte("two "), []byte("three")}
	fmt.Println(must(buffers.WriteTo(c2)))
	n = must(s2.Read(b))
	fmt.Println(string(b[:n]))
	raw := must(c2.(*net.TCPConn).SyscallConn())
	must(0, raw.Control(func(fd uintptr) {
		must(0, unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		fmt.Println(number(unix.Connect(int(fd), must(unix.Getpeername(int(fd))))))
	}))
	c2.Close()
	s2.Close()
	again.Close()
}

// rawSockets uses the calls alone.
func rawSockets() {
	fmt.Println("raw")
	l := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	must(0, unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	fmt.Println(number(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})))
	_, _, err := unix.Accept(l)
	fmt.Println("accept", number(err))
	must(0, unix.Listen(l, 5))
	must(0, unix.Listen(l, 10))
	name := must(unix.Getsockname(l)).(*unix.SockaddrInet4)
	fmt.Println(name.Addr, name.Port != 0)
	_, err = unix.Getpeername(l)
	fmt.Println("peer", number(err))
	c := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	_, err = unix.Write(c, []byte("x"))
	fmt.Println("write", number(err))
	_, err = unix.Read(c, make([]byte, 1))
	fmt.Println("read", number(err))
	fmt.Println("connect", number(unix.Connect(c, &unix.SockaddrInet4{Port: name.Port})))
	s, from, err := unix.Accept4(l, unix.SOCK_NONBLOCK)
	fmt.Println(number(err), from.(*unix.SockaddrInet4).Addr)
	_, err = unix.Read(s, make([]byte, 1))
	fmt.Println("again", number(err))
	fmt.Println("connected", number(unix.Connect(c, name)))
	must(unix.Write(c, []byte("peek")))
	b := make([]byte, 10)
	n := 0
	for n < 4 && (err == nil || err == unix.EAGAIN) { // it is on its way
		n, _, err = unix.Recvfrom(s, b, unix.MSG_PEEK)
	}
	fmt.Println(n, number(err), must(unix.IoctlGetInt(s, unix.TIOCINQ)))
	n, err = unix.Readv(s, [][]byte{make([]byte, 1), make([]byte, 9)})
	fmt.Println(n, number(err))
	fmt.Println(number(unix.Shutdown(c, unix.SHUT_WR)), number(unix.Shutdown(c, 9)))
	_, err = unix.Write(c, []byte("x"))
	fmt.Println("shut", number(err))
	for err = unix.EAGAIN; err == unix.EAGAIN; {
		n, err = unix.Read(s, b)
	}
	fmt.Println("end", n, number(err))
	d := must(unix.Dup(s))
	unix.Close(s)
	fmt.Println(must(unix.Write(d, []byte("dup"))))
	fmt.Println(must(unix.Read(c, b)))
	info := must(unix.GetsockoptTCPInfo(d, unix.IPPROTO_TCP, unix.TCP_INFO))
	fmt.Println("state", info.State)
	unix.Close(d)
	unix.Close(c)
	unix.Close(l)
	_, _, e := unix.Syscall(unix.SYS_BIND, uintptr(must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))), 0, 16)
	fmt.Println(number(e))
	_, _, e = unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))),
		unix.SOL_SOCKET, unix.SO_TYPE, uintptr(unsafe.Pointer(&b[0])), 0, 0)
	fmt.Println(number(e))
}

// messages have control messages.
func messages() {
	fmt.Println("messages")
	p := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	c := ipv4.NewPacketConn(p)
	must(0, c.SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true))
	must(0, c.SetTTL(33))
	must(c.WriteTo([]byte("to itself"), nil, p.LocalAddr()))
	b := make([]byte, 100)
	n, cm, from, err := c.ReadFrom(b)
	fmt.Println(n, cm.TTL, cm.Dst, cm.IfIndex, from.String() == p.LocalAddr().String(), err)
	batch := []ipv4.Message{{Buffers: [][]byte{[]byte("first")}, Addr: p.LocalAddr()}, {Buffers: [][]byte{[]byte("sec"), []byte("ond")}, Addr: p.LocalAddr()}}
	fmt.Println(must(c.WriteBatch(batch, 0)))
	in := []ipv4.Message{{Buffers: [][]byte{make([]byte, 10)}}, {Buffers: [][]byte{make([]byte, 3), make([]byte, 10)}}}
	for n := 0; n < 2; {
		n += must(c.ReadBatch(in[n:], 0))
	}
	fmt.Println(in[0].N, string(in[0].Buffers[0][:5]), in[1].N, string(in[1].Buffers[0]), string(in[1].Buffers[1][:3]))
	must(p.WriteTo([]byte("0123456789"), p.LocalAddr()))
	short := make([]byte, 4)
	n, oob, flags, _, err := p.(*net.UDPConn).ReadMsgUDP(short, nil)
	fmt.Println(n, oob, flags&unix.MSG_TRUNC != 0, err)
	p.Close()
}

// unixRaw uses sockets of AF_UNIX.
func unixRaw() {
	fmt.Println("unix")
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		fds := must(unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_NONBLOCK, 0))
		_, err := unix.Read(fds[0], make([]byte, 1))
		fmt.Println("empty", number(err))
		fmt.Println(must(unix.Write(fds[0], []byte("abc"))), must(unix.Write(fds[0], []byte("defgh"))))
		b := make([]byte, 4)
		fmt.Printf("%d %q\n", must(unix.Read(fds[1], b)), b) // with the bytes that stay zero
		n := 0
		for err = nil; err == nil; n++ {
			_, err = unix.Write(fds[0], make([]byte, 1000))
		}
		fmt.Println("full", n > 10, number(err))
		unix.Close(fds[1])
		_, err = unix.Write(fds[0], b)
		fmt.Println("gone", number(err))
		n, err = unix.Read(fds[0], b)
		fmt.Println(n, number(err))
		unix.Close(fds[0])
	}
	fds := must(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	cred := must(unix.GetsockoptUcred(fds[0], unix.SOL_SOCKET, unix.SO_PEERCRED))
	fmt.Println(int(cred.Pid) == os.Getpid(), int(cred.Uid) == os.Getuid())
	sa, err := unix.Getsockname(fds[0])
	fmt.Println(sa.(*unix.SockaddrUnix).Name == "", err)
	s := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	fmt.Println(number(unix.Listen(s, 1)))
	must(0, unix.Bind(s, &unix.SockaddrUnix{Name: "@unixRaw"}))
	again := must(unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0))
	fmt.Println(number(unix.Bind(again, &unix.SockaddrUnix{Name: "@unixRaw"})), number(unix.Connect(again, &unix.SockaddrUnix{Name: "@unixRaw"})))
	gram := must(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0))
	fmt.Println(number(unix.Connect(gram, &unix.SockaddrUnix{Name: "@unixRaw"})))
}

// blocking has calls wait, on sockets that are not in the runtime's poller.
func blocking() {
	fmt.Println("blocking")
	l := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	must(0, unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(0, unix.Listen(l, 5))
	name := must(unix.Getsockname(l))
	done := make(chan string)
	go func() {
		s, _, err := unix.Accept(l)
		if err != nil {
			done <- number(err)
			return
		}
		b := make([]byte, 10)
		n, _, err := unix.Recvfrom(s, b, unix.MSG_WAITALL)
		done <- fmt.Sprint(string(b[:n]), number(err))
		unix.Write(s, make([]byte, 8<<20))
		unix.Close(s)
	}()
	time.Sleep(10 * time.Millisecond)
	c := must(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	must(0, unix.Connect(c, name))
	for range 5 {
		must(unix.Write(c, []byte("ab")))
		time.Sleep(5 * time.Millisecond)
	}
	fmt.Println(<-done)
	total := 0
	for b := make([]byte, 1<<16); ; {
		n, err := unix.Read(c, b)
		if total += n; n <= 0 {
			fmt.Println(total, number(err))
			break
		}
	}
	must(0, unix.SetsockoptTimeval(l, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}))
	_, _, err := unix.Accept(l)
	fmt.Println("timeout", number(err))
	unix.Close(c)
	unix.Close(l)
}
