package device

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

func itoa(n int) string { return strconv.Itoa(n) }

// open opens a path as a caller would, without FD_CLOEXEC.
func open(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(path, flags, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// kept closes fd when t ends; err is of the call that made it.
func kept(t *testing.T, fd int, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// pair makes a socketpair of the given type.
func pair(t *testing.T, typ int) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// inherited attaches fd as the only device.
func inherited(t *testing.T, fd int) (*Device, error) {
	t.Helper()
	s, err := Attach(manifest(Declared{"in", image.Net}), options(t, "net", "in=@"+itoa(fd)))
	if err != nil {
		return nil, err
	}
	return &s.Devices[0], nil
}

func TestClassify(t *testing.T) {
	r, _ := pipe(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	master, slave := testhost.PTY(t)
	stream, _ := pair(t, unix.SOCK_STREAM)
	dgram, _ := pair(t, unix.SOCK_DGRAM)
	seq, _ := pair(t, unix.SOCK_SEQPACKET)
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	udp = kept(t, udp, err)
	memfd, err := unix.MemfdCreate("gocat", 0)
	memfd = kept(t, memfd, err)
	event, err := unix.Eventfd(0, 0)
	event = kept(t, event, err)
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0)
	timer = kept(t, timer, err)
	notify, err := unix.InotifyInit1(0)
	notify = kept(t, notify, err)

	for _, test := range []struct {
		what     string
		fd       int
		kind     Kind
		writable bool
		ends     bool
	}{
		{"pipe", r, Pipe, false, true},
		{"FIFO", open(t, fifo, unix.O_RDWR), Pipe, true, true},
		{"file", open(t, "/proc/self/exe", unix.O_RDONLY), File, false, true},
		{"procfs file", open(t, "/proc/self/mounts", unix.O_RDONLY), File, false, true},
		{"memfd", memfd, File, true, true},
		{"/dev/null", open(t, "/dev/null", unix.O_RDONLY), Null, false, true},
		{"/dev/zero", open(t, "/dev/zero", unix.O_RDWR), Null, true, true},
		{"/dev/urandom", open(t, "/dev/urandom", unix.O_RDONLY), Null, false, true},
		{"/dev/random", open(t, "/dev/random", unix.O_RDONLY), Other, false, true},
		{"pty master", master, TTY, true, true},
		{"pty slave", slave, TTY, true, true},
		{"stream socket", stream, Stream, true, true},
		{"datagram socket", dgram, Packet, true, false},
		{"seqpacket socket", seq, SeqPacket, true, true},
		{"UDP socket", udp, Packet, true, false},
		{"eventfd", event, Other, true, true},
		{"timerfd", timer, Other, true, true},
		{"inotify", notify, Other, false, true},
	} {
		check := unchanged(t)
		d, err := inherited(t, test.fd)
		if err != nil {
			t.Errorf("%s: %v", test.what, err)
			continue
		}
		check()
		if d.Kind != test.kind || d.Writable != test.writable || d.MTU != DefaultMTU {
			t.Errorf("%s: %v, writable %v, MTU %d; want %v, %v, %d", test.what, d.Kind, d.Writable, d.MTU, test.kind, test.writable, DefaultMTU)
		}
		if d.EndsStream(EOFAuto) != test.ends || !d.EndsStream(EOFZero) || d.EndsStream(EOFAgain) {
			t.Errorf("%s: ends %v, %v, %v", test.what, d.EndsStream(EOFAuto), d.EndsStream(EOFZero), d.EndsStream(EOFAgain))
		}
		if got, want := AlwaysReady(d.Kind), epollRefuses(t, test.fd); got != want && test.what != "procfs file" {
			t.Errorf("%s: always ready %v, but epoll refuses it: %v", test.what, got, want)
		}
	}
}

// epollRefuses is the kernel's own word on AlwaysReady.
func epollRefuses(t *testing.T, fd int) bool {
	t.Helper()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ep)
	return unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN}) == unix.EPERM
}

func TestClassifyRefuses(t *testing.T) {
	_, w := pipe(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	ep, err := unix.EpollCreate1(0)
	ep = kept(t, ep, err)
	pid, err := unix.PidfdOpen(os.Getpid(), 0)
	pid = kept(t, pid, err)
	unconnected, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	unconnected = kept(t, unconnected, err)
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	tcp = kept(t, tcp, err)
	listening, _ := listener(t)
	if _, err := unix.FcntlInt(uintptr(pid), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		what string
		fd   int
		want string
	}{
		{"closed", 1 << 20, "descriptor 1048576 is not open"},
		{"write end of a pipe", w, "is not readable: it is open for writing only"},
		{"file opened for writing", open(t, file, unix.O_WRONLY), "is not readable"},
		{"access mode 3", open(t, file, unix.O_ACCMODE), "is not readable"},
		{"O_PATH", open(t, file, unix.O_PATH), "O_PATH"},
		{"directory", open(t, dir, unix.O_RDONLY), "is a directory"},
		{"epoll", ep, "is not readable"},
		{"pidfd", pid, "is not readable"},
		{"namespace", open(t, "/proc/self/ns/net", unix.O_RDONLY), "is not readable"},
		{"unconnected Unix socket", unconnected, "not connected"},
		{"unconnected TCP socket", tcp, "not connected"},
		{"listening socket", listening, "listening"},
	} {
		check := unchanged(t)
		_, err := inherited(t, test.fd)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.what, err, test.want)
			continue
		}
		check()
		checkLine(t, err)
	}
}

// listener makes a TCP socket that listens on loopback.
func listener(t *testing.T) (fd int, addr unix.Sockaddr) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	fd = kept(t, fd, err)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		t.Fatal(err)
	}
	if addr, err = unix.Getsockname(fd); err != nil {
		t.Fatal(err)
	}
	return fd, addr
}

// A connection whose both sides have finished has no peer any more, and may
// still hold everything that was sent.
func TestClassifyFinishedConnection(t *testing.T) {
	listening, addr := listener(t)
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	client = kept(t, client, err)
	if err := unix.Connect(client, addr); err != nil {
		t.Fatal(err)
	}
	server, _, err := unix.Accept(listening)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Shutdown(client, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(server, []byte("last")); err != nil {
		t.Fatal(err)
	}
	unix.Close(server)
	// Until the client has seen the server's end.
	p := []unix.PollFd{{Fd: int32(client), Events: unix.POLLIN}}
	for p[0].Revents&unix.POLLHUP == 0 {
		if n, err := unix.Poll(p, 5000); err != nil || n == 0 {
			t.Fatalf("poll: %d, %v", n, err)
		}
	}
	if _, err := unix.Getpeername(client); err != unix.ENOTCONN {
		t.Fatalf("getpeername: %v; the case is not the one to test", err)
	}
	d, err := inherited(t, client)
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind != Stream {
		t.Errorf("kind %v", d.Kind)
	}
}
