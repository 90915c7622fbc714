package device

import (
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

const plainTap = unix.IFF_TAP | unix.IFF_NO_PI

// attachTapNamed attaches an interface as the only device.
func attachTapNamed(t *testing.T, name string, more ...string) (*Set, error) {
	t.Helper()
	return Attach(manifest(Declared{"service", image.Net}), options(t, append(more, "net", "service="+name)...))
}

func TestTap(t *testing.T) {
	testhost.Netns(t)
	testhost.Tap(t, "tap0", plainTap)
	testhost.Up(t, "tap0", 1234)
	check := unchanged(t)
	s, err := attachTapNamed(t, "tap0")
	if err != nil {
		t.Fatal(err)
	}
	d := &s.Devices[0]
	if d.Kind != Tap || d.MTU != 1234 || d.Path != "tap0" || d.Inherited || !d.Writable || d.FD <= 2 {
		t.Errorf("%+v", d)
	}
	if flags, err := unix.FcntlInt(uintptr(d.FD), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v; want FD_CLOEXEC", flags, err)
	}
	p, err := d.Private()
	if err != nil {
		t.Fatal(err)
	}
	if p.Via != Plain || p.FD != d.FD {
		t.Errorf("port %+v", p)
	}
	exchangeFrames(t, p, "tap0")
	p.Close()
	s.Close()
	check()

	// The MTU that is asked for wins over the interface's.
	s, err = attachTapNamed(t, "tap0", "net-mtu", "service=600")
	if err != nil {
		t.Fatal(err)
	}
	if s.Devices[0].MTU != 600 {
		t.Errorf("MTU %d", s.Devices[0].MTU)
	}
	s.Close()
}

// exchangeFrames passes a frame each way between the port and the interface.
func exchangeFrames(t *testing.T, p Port, name string) {
	t.Helper()
	// An EtherType for experiments (IEEE 802), in network byte order.
	const etherType, networkOrder = 0x88b5, 0xb588
	sock, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, networkOrder)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlIfreq(sock, unix.SIOCGIFINDEX, ifr); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(sock, &unix.SockaddrLinklayer{Protocol: networkOrder, Ifindex: int(ifr.Uint32())}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(sock, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		t.Fatal(err)
	}

	frame := make([]byte, 60)
	copy(frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, etherType >> 8, etherType & 0xff, 'i', 'n'})
	if n, errno := p.Write(frame); n != len(frame) || errno != 0 {
		t.Fatalf("write: %d, %v", n, errno)
	}
	got := make([]byte, 2048)
	if n, err := unix.Read(sock, got); err != nil || string(got[:n]) != string(frame) {
		t.Errorf("the interface got %x, %v", got[:max(n, 0)], err)
	}

	frame[14], frame[15] = 'o', 'u'
	// The kernel notices only some time after the attachment that the link is up
	// and drops frames until then. The interface sends frames of its own too (IPv6
	// multicast).
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := unix.Write(sock, frame); err != nil && err != unix.ENETDOWN {
			t.Fatal(err)
		}
		for {
			n, errno := p.Read(got)
			if errno == unix.EAGAIN {
				break
			}
			if errno != 0 {
				t.Fatalf("read: %v", errno)
			}
			if string(got[:n]) == string(frame) {
				return
			}
		}
	}
	t.Fatal("the frame that was sent to the interface did not arrive")
}

func TestTapErrors(t *testing.T) {
	testhost.Netns(t)
	testhost.Tap(t, "down0", plainTap)
	testhost.Tap(t, "tun0", unix.IFF_TUN|unix.IFF_NO_PI)
	testhost.Up(t, "tun0", 1500)
	testhost.Tap(t, "busy0", plainTap)
	testhost.Up(t, "busy0", 1500)
	busy := testhost.OpenTap(t, "busy0", plainTap)
	defer unix.Close(busy)
	testhost.Up(t, "lo", 1500)
	for _, test := range []struct{ name, want string }{
		{"none0", `no interface "none0": no such file or directory; make one: ip tuntap add none0 mode tap && ip link set none0 up`},
		{"down0", `interface "down0": network is down; bring it up: ip link set down0 up`},
		{"busy0", `interface "busy0": cannot attach: device or resource busy; another program is using it`},
		{"tun0", "it is not a single-queue tap"},
		{"lo", "it is not a single-queue tap"},
	} {
		check := unchanged(t)
		_, err := attachTapNamed(t, test.name)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
			continue
		}
		check()
		checkLine(t, err)
	}
	// A refused name must not have come into being.
	if _, err := attachTapNamed(t, "none0"); err == nil || !strings.Contains(err.Error(), "no interface") {
		t.Errorf("second time: %v", err)
	}
}

// tapOfAnother makes a tap of user 1000's, which is up. One that is nobody's may
// be attached to by everybody.
func tapOfAnother(t *testing.T, name string) {
	t.Helper()
	testhost.Netns(t)
	fd := testhost.OpenTap(t, name, plainTap)
	for _, op := range []struct {
		request uint
		value   int
	}{{unix.TUNSETPERSIST, 1}, {unix.TUNSETOWNER, 1000}} {
		if err := unix.IoctlSetInt(fd, op.request, op.value); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(fd)
	testhost.Up(t, name, 1500)
}

func TestTapOfAnotherUser(t *testing.T) {
	tapOfAnother(t, "tap0")
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	tun = kept(t, tun, err)
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	sock = kept(t, sock, err)
	// The descriptors belong to this namespace; only the user changes.
	testhost.Unprivileged(t, func() {
		_, err := attachTap(sock, tun, "tap0", 0)
		if err == nil || !strings.Contains(err.Error(), "operation not permitted; it belongs to another user") {
			t.Errorf("error %v", err)
		}
		checkLine(t, err)
	})
}

// Whether the device file or the tap is the obstacle, the error says which.
func TestTapWithoutPermission(t *testing.T) {
	tapOfAnother(t, "tap0")
	var tun unix.Stat_t
	if err := unix.Stat("/dev/net/tun", &tun); err != nil {
		t.Fatal(err)
	}
	testhost.Unprivileged(t, func() {
		want := "cannot open /dev/net/tun: permission denied; it needs permission to read and to write"
		if tun.Mode&0o006 == 0o006 {
			want = "it belongs to another user"
		}
		_, err := attachTapNamed(t, "tap0")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	})
	testhost.Tmpfs(t, "/dev/net")
	_, err := attachTapNamed(t, "tap0")
	if err == nil || !strings.Contains(err.Error(), "cannot open /dev/net/tun: no such file or directory; there is no such device file") {
		t.Errorf("error %v", err)
	}
}

func TestInheritedTap(t *testing.T) {
	testhost.Netns(t)
	fd := testhost.OpenTap(t, "tap0", plainTap)
	defer unix.Close(fd)
	testhost.Up(t, "tap0", 9000)
	check := unchanged(t)
	d, err := inherited(t, fd)
	if err != nil {
		t.Fatal(err)
	}
	if d.Kind != Tap || d.MTU != 9000 || d.EndsStream(EOFAuto) {
		t.Errorf("%+v", d)
	}
	p, err := d.Private()
	if err != nil {
		t.Fatal(err)
	}
	if p.Via != Polled || p.FD != fd {
		t.Errorf("port %+v", p)
	}
	exchangeFrames(t, p, "tap0")
	p.Close()
	check()

	// Seen from another namespace, where the name means another tap, the
	// MTU is unknown.
	result := make(chan uint16)
	go func() {
		defer close(result)
		testhost.Netns(t)
		testhost.Tap(t, "tap0", plainTap)
		testhost.Up(t, "tap0", 4000)
		result <- inheritedMTU(fd)
	}()
	if got := <-result; got != DefaultMTU {
		t.Errorf("MTU %d in another namespace, want %d", got, DefaultMTU)
	}
}

func TestInheritedTapRefused(t *testing.T) {
	testhost.Netns(t)
	for _, test := range []struct {
		name  string
		flags uint16
		want  string
	}{
		{"tun0", unix.IFF_TUN | unix.IFF_NO_PI, "a guest wants Ethernet"},
		{"tap0", unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR, "header before each frame"},
	} {
		fd := testhost.OpenTap(t, test.name, test.flags)
		_, err := inherited(t, fd)
		unix.Close(fd)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
	tun := open(t, "/dev/net/tun", unix.O_RDWR)
	if _, err := inherited(t, tun); err == nil || !strings.Contains(err.Error(), "without an interface") {
		t.Errorf("unattached: error %v", err)
	}
}

// Offload is off while attached, else merged frames would be cut.
func TestTapOffload(t *testing.T) {
	testhost.Netns(t)
	testhost.Tap(t, "tap0", plainTap)
	testhost.Up(t, "tap0", 1500)
	before := gro(t, "tap0")
	s, err := attachTapNamed(t, "tap0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if after := gro(t, "tap0"); before == 0 || after != 0 {
		t.Errorf("GRO was %d, now %d; want on, then off", before, after)
	}
}

// gro reads whether receive merging is on.
func gro(t *testing.T, name string) uint32 {
	t.Helper()
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sock)
	value := ethtoolValue{cmd: unix.ETHTOOL_GGRO}
	r := ethtoolRequest{data: &value}
	copy(r.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(sock), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		t.Fatalf("ETHTOOL_GGRO: %v", errno)
	}
	return value.data
}
