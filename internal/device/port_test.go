package device

import (
	"bytes"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// port attaches fd and makes its port. It fails t if the caller's description
// is ever changed by that, and when the port outlives its Close.
func port(t *testing.T, fd int) (*Device, *Port) {
	t.Helper()
	before := flags(t, fd)
	d, err := inherited(t, fd)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Private()
	if err != nil {
		t.Fatal(err)
	}
	// Already now: whoever is killed restores nothing.
	if now := flags(t, fd); now != before {
		t.Errorf("descriptor %d had flags %v, now %v", fd, before, now)
	}
	if p.FD != fd && flags(t, p.FD)[0] != unix.FD_CLOEXEC {
		t.Errorf("private descriptor %d is not close-on-exec", p.FD)
	}
	t.Cleanup(func() {
		private := p.FD
		p.Close()
		if now := flags(t, fd); now != before {
			t.Errorf("descriptor %d had flags %v, after Close %v", fd, before, now)
		}
		if _, err := unix.FcntlInt(uintptr(private), unix.F_GETFD, 0); private != fd && err != unix.EBADF {
			t.Errorf("private descriptor %d after Close: %v", private, err)
		}
	})
	return d, &p
}

// flags are the flags of the descriptor and of its description.
func flags(t *testing.T, fd int) [2]int {
	t.Helper()
	var f [2]int
	var err error
	for i, op := range []int{unix.F_GETFD, unix.F_GETFL} {
		if f[i], err = unix.FcntlInt(uintptr(fd), op, 0); err != nil {
			t.Fatalf("descriptor %d: %v", fd, err)
		}
	}
	return f
}

// hangUp closes fd's resource and keeps the number taken.
func hangUp(t *testing.T, fd int) {
	t.Helper()
	if err := unix.Dup3(open(t, "/dev/null", unix.O_RDWR), fd, 0); err != nil {
		t.Fatal(err)
	}
}

// rawMode makes a terminal pass bytes as they are.
func rawMode(t *testing.T, tty int) {
	t.Helper()
	tio, err := unix.IoctlGetTermios(tty, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	tio.Iflag, tio.Oflag, tio.Lflag = 0, 0, 0
	if err := unix.IoctlSetTermios(tty, unix.TCSETS, tio); err != nil {
		t.Fatal(err)
	}
}

// wait waits up to ms milliseconds for input, or an end, on fd.
func wait(t *testing.T, fd, ms int) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, ms)
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// Whatever is behind the descriptor, a read of nothing does not block, what is
// sent arrives, and the end of a stream is 0 bytes.
func TestPort(t *testing.T) {
	type ends struct{ ours, theirs int }
	socket := func(typ int) func(*testing.T) ends {
		return func(t *testing.T) ends {
			a, b := pair(t, typ)
			return ends{a, b}
		}
	}
	for _, test := range []struct {
		what string
		make func(*testing.T) ends
		via  Via
		own  bool // the port has a description of its own
		end  bool
	}{
		{"pipe", func(t *testing.T) ends {
			r, w := pipe(t)
			return ends{r, w}
		}, Plain, true, true},
		{"pty slave", func(t *testing.T) ends {
			master, slave := testhost.PTY(t)
			rawMode(t, slave)
			return ends{slave, master}
		}, Plain, true, true},
		{"pty master", func(t *testing.T) ends {
			master, slave := testhost.PTY(t)
			rawMode(t, slave)
			return ends{master, slave}
		}, Polled, false, false},
		{"stream", socket(unix.SOCK_STREAM), Socket, false, true},
		{"seqpacket", socket(unix.SOCK_SEQPACKET), Socket, false, true},
		{"datagram", socket(unix.SOCK_DGRAM), Socket, false, false},
	} {
		t.Run(test.what, func(t *testing.T) {
			e := test.make(t)
			d, p := port(t, e.ours)
			if p.Via != test.via || (p.FD != e.ours) != test.own {
				t.Fatalf("port %+v of descriptor %d", *p, e.ours)
			}
			buf := make([]byte, 100)
			if n, errno := p.Read(buf); errno != unix.EAGAIN {
				t.Fatalf("read of nothing: %d, %v", n, errno)
			}
			if _, err := unix.Write(e.theirs, []byte("hello")); err != nil {
				t.Fatal(err)
			}
			if !wait(t, d.FD, 5000) {
				t.Fatal("nothing came")
			}
			if n, errno := p.Read(buf); errno != 0 || string(buf[:n]) != "hello" {
				t.Fatalf("read: %q, %v", buf[:n], errno)
			}
			if d.Writable {
				if n, errno := p.Write([]byte("world")); n != 5 || errno != 0 {
					t.Errorf("write: %d, %v", n, errno)
				}
				if n, err := unix.Read(e.theirs, buf); err != nil || string(buf[:n]) != "world" {
					t.Errorf("the other side read %q, %v", buf[:max(n, 0)], err)
				}
			}
			if !test.end {
				return
			}
			hangUp(t, e.theirs)
			if !wait(t, d.FD, 5000) {
				t.Fatal("the end never came")
			}
			if n, errno := p.Read(buf); n != 0 || errno != 0 {
				t.Errorf("read at the end: %d, %v", n, errno)
			}
		})
	}
}

// ^D at a terminal is an end that a program sees once.
func TestPortTerminalEnd(t *testing.T) {
	master, slave := testhost.PTY(t)
	d, p := port(t, slave)
	if _, err := unix.Write(master, []byte("line\n\x04")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for _, want := range []string{"line\n", ""} {
		if !wait(t, d.FD, 5000) {
			t.Fatalf("%q never came", want)
		}
		if n, errno := p.Read(buf); errno != 0 || string(buf[:n]) != want {
			t.Errorf("read %q, %v; want %q", buf[:n], errno, want)
		}
	}
	if n, errno := p.Read(buf); errno != unix.EAGAIN {
		t.Errorf("after ^D: %d, %v", n, errno)
	}
}

// The end of a FIFO whose writer is gone before the port is made must still
// wake a wait on the Device's descriptor.
func TestPortFIFOWithoutWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	holder := open(t, path, unix.O_RDWR)
	fd := open(t, path, unix.O_RDONLY)
	if _, err := unix.Write(holder, []byte("last")); err != nil {
		t.Fatal(err)
	}
	hangUp(t, holder)
	d, p := port(t, fd)
	if p.FD == fd {
		t.Fatalf("port %+v is not private", *p)
	}
	buf := make([]byte, 100)
	for _, want := range []string{"last", ""} {
		if !wait(t, d.FD, 5000) {
			t.Fatalf("%q never came", want)
		}
		if n, errno := p.Read(buf); errno != 0 || string(buf[:n]) != want {
			t.Errorf("read %q, %v; want %q", buf[:n], errno, want)
		}
	}
}

// A pipe in packet mode stays so: a read returns one packet, a write makes one.
func TestPortPacketPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd := open(t, path, unix.O_RDWR)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_DIRECT); err != nil {
		t.Fatal(err)
	}
	_, p := port(t, fd)
	for _, packet := range []string{"one", "two"} {
		if n, errno := p.Write([]byte(packet)); n != 3 || errno != 0 {
			t.Fatalf("write: %d, %v", n, errno)
		}
	}
	buf := make([]byte, 100)
	if n, errno := p.Read(buf); errno != 0 || string(buf[:n]) != "one" {
		t.Errorf("read %q, %v", buf[:n], errno)
	}
}

// Without /proc a pipe is polled before each read, with the same results.
func TestPortWithoutProc(t *testing.T) {
	r, w := pipe(t)
	testhost.Tmpfs(t, "/proc")
	_, p := port(t, r)
	checkPolledPipe(t, p, r, w)
}

// So is a pipe that another user made: only its owner may open it again.
func TestPortOfAnotherUser(t *testing.T) {
	testhost.NeedRoot(t, "to become another user")
	r, w := pipe(t)
	testhost.Unprivileged(t, func() {
		d := Device{Name: "in", FD: r, Inherited: true, Kind: Pipe}
		p, err := d.Private()
		if err != nil {
			t.Fatal(err)
		}
		checkPolledPipe(t, &p, r, w)
	})
}

// checkPolledPipe reads nothing, then something.
func checkPolledPipe(t *testing.T, p *Port, r, w int) {
	t.Helper()
	if p.Via != Polled || p.FD != r {
		t.Fatalf("port %+v of descriptor %d", *p, r)
	}
	buf := make([]byte, 100)
	if n, errno := p.Read(buf); errno != unix.EAGAIN {
		t.Errorf("read of nothing: %d, %v", n, errno)
	}
	if _, err := unix.Write(w, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if n, errno := p.Read(buf); errno != 0 || string(buf[:n]) != "hello" {
		t.Errorf("read: %q, %v", buf[:n], errno)
	}
}

// A file is read on from the caller's offset, and the caller from ours.
func TestPortFile(t *testing.T) {
	fd := open(t, disk(t, 10), unix.O_RDWR)
	if _, err := unix.Pwrite(fd, []byte("0123456789"), 0); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	if _, err := unix.Read(fd, buf); err != nil {
		t.Fatal(err)
	}
	_, p := port(t, fd)
	if p.FD != fd || p.Via != Plain {
		t.Fatalf("port %+v", *p)
	}
	if n, errno := p.Read(buf); errno != 0 || string(buf[:n]) != "4567" {
		t.Errorf("read %q, %v", buf[:n], errno)
	}
	if off, err := unix.Seek(fd, 0, unix.SEEK_CUR); off != 8 || err != nil {
		t.Errorf("offset %d, %v", off, err)
	}
}

// A full socket takes what fits, then says EAGAIN, and loses nothing.
func TestPortFullSocket(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	_, p := port(t, a)
	var sent, received bytes.Buffer
	chunk := make([]byte, 65536)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	for {
		n, errno := p.Write(chunk)
		sent.Write(chunk[:n])
		if errno == unix.EAGAIN {
			break
		}
		if errno != 0 || sent.Len() > 64<<20 {
			t.Fatalf("write: %v after %d bytes", errno, sent.Len())
		}
	}
	if sent.Len() == 0 {
		t.Fatal("nothing could be sent")
	}
	for received.Len() < sent.Len() {
		buf := make([]byte, 65536)
		n, err := unix.Read(b, buf)
		if err != nil {
			t.Fatal(err)
		}
		received.Write(buf[:n])
	}
	if !bytes.Equal(sent.Bytes(), received.Bytes()) {
		t.Error("what arrived is not what was sent")
	}
}

func TestPortEventfd(t *testing.T) {
	fd, err := unix.Eventfd(0, 0)
	fd = kept(t, fd, err)
	_, p := port(t, fd)
	buf := make([]byte, 8)
	if n, errno := p.Read(buf); errno != unix.EAGAIN {
		t.Fatalf("read of nothing: %d, %v", n, errno)
	}
	if n, errno := p.Write([]byte{3, 0, 0, 0, 0, 0, 0, 0}); n != 8 || errno != 0 {
		t.Fatalf("write: %d, %v", n, errno)
	}
	if n, errno := p.Read(buf); n != 8 || errno != 0 || buf[0] != 3 {
		t.Errorf("read: %d, %v, %v", n, errno, buf)
	}
}

// Errors other than EAGAIN come through.
func TestPortErrors(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	_, p := port(t, a)
	hangUp(t, b)
	if n, errno := p.Write([]byte("x")); errno != unix.EPIPE {
		t.Errorf("write to a closed socket: %d, %v", n, errno)
	}
	r, _ := pipe(t)
	_, p = port(t, r)
	if n, errno := p.Write([]byte("x")); errno != unix.EBADF {
		t.Errorf("write to a read end: %d, %v", n, errno)
	}
}

// A signal interrupts poll(2) even where it does not wait; a read does not tell.
func TestPortSignals(t *testing.T) {
	r, _ := pipe(t)
	testhost.Tmpfs(t, "/proc")
	_, p := port(t, r)
	if p.Via != Polled {
		t.Fatalf("port %+v", *p)
	}
	pid, tid := unix.Getpid(), unix.Gettid() // Tmpfs has locked the thread
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				unix.Tgkill(pid, tid, unix.SIGURG)
			}
		}
	}()
	buf := make([]byte, 1)
	for range 100_000 {
		if n, errno := p.Read(buf); errno != unix.EAGAIN {
			t.Errorf("read of nothing: %d, %v", n, errno)
			break
		}
	}
	close(done)
	<-stopped
}
