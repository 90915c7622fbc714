package kvmhvt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// network gives the calling goroutine, and what it starts, a network of its own
// with taps tap100 at 10.0.0.1, tap101 at 10.1.0.1, and tap102 with an MTU of
// 9000. The goroutine's thread ends with it.
// The result is the network, for unix.Setns.
func network(t *testing.T) (fd int) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		testhost.Skip(t, "no network namespace: "+err.Error())
	}
	for _, args := range []string{
		"tuntap add tap100 mode tap", "addr add 10.0.0.1/24 dev tap100", "link set dev tap100 up",
		"tuntap add tap101 mode tap", "addr add 10.1.0.1/24 dev tap101", "link set dev tap101 up",
		"tuntap add tap102 mode tap", "link set dev tap102 up mtu 9000",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			testhost.Skip(t, fmt.Sprintf("ip %s: %v: %s", args, err, out))
		}
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// ping floods an address with echo requests until stopped, and returns how many
// were answered with the same contents.
func ping(t *testing.T, addr [4]byte, stop <-chan struct{}) (answered int) {
	t.Helper()
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer unix.Close(s)
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 10000}); err != nil {
		t.Error(err)
	}
	request := append([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 0}, bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 14)...)
	buf := make([]byte, 256)
	outstanding := 0
	for seq := uint16(0); ; {
		select {
		case <-stop:
			return answered
		default:
		}
		for ; outstanding < 32; outstanding++ {
			seq++
			binary.BigEndian.PutUint16(request[6:], seq)
			binary.BigEndian.PutUint16(request[2:], 0)
			binary.BigEndian.PutUint16(request[2:], checksum(request))
			unix.Sendto(s, request, 0, &unix.SockaddrInet4{Addr: addr})
		}
		n, from, err := unix.Recvfrom(s, buf, 0)
		if err != nil {
			outstanding = 0 // lost, or nobody there yet
			continue
		}
		if a, ok := from.(*unix.SockaddrInet4); ok && a.Addr == addr && n == 20+len(request) && buf[20] == 0 {
			outstanding--
			if !bytes.Equal(buf[28:n], request[8:]) {
				t.Error("an answer has other contents")
			}
			answered++
		}
	}
}

// checksum is the Internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	sum := 0
	for ; len(b) > 1; b = b[2:] {
		sum += int(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// serve runs a guest that answers pings until it has had enough of them.
func serve(t *testing.T, network, least int, addrs [][4]byte, args ...string) {
	t.Helper()
	cmd := tenderCommand(t, args...)
	stop, counts := make(chan struct{}), make(chan int)
	for _, a := range addrs {
		go func() {
			runtime.LockOSThread()
			if err := unix.Setns(network, unix.CLONE_NEWNET); err != nil {
				t.Error(err)
			}
			counts <- ping(t, a, stop)
		}()
	}
	began := time.Now()
	r := runCommand(t, cmd)
	took := time.Since(began)
	close(stop)
	total := 0
	for range addrs {
		total += <-counts
	}
	if r.status != 0 || !strings.Contains(r.stdout, "SUCCESS") || total < least {
		t.Errorf("%d pings answered, %+v", total, r)
	}
	t.Logf("%d pings answered in %v", total, took)
}

func TestSolo5Net(t *testing.T) {
	addr := [][4]byte{{10, 0, 0, 2}, {10, 1, 0, 2}}
	for _, ring := range []bool{false, true} {
		t.Run("ring="+strconv.FormatBool(ring), func(t *testing.T) {
			var options []string
			if ring {
				options = []string{"--ring"}
			}
			img, img2, jumbo := solo5Guest(t, "net_ring"), solo5Guest(t, "net_2if"), solo5Guest(t, "net_mtu")
			network := network(t)
			serve(t, network, 9000, addr[:1], append(options, "--net:service0=tap100", img)...)
			if !ring && !testing.Short() { // a quarter of a minute
				serve(t, network, 90000, addr, append(options, "--net:service0=tap100", "--net:service1=tap101", img2, "limit")...)
			}
			r := runTender(t, append(options, "--net:service0=tap102", jumbo)...)
			if r.status != 0 || !strings.Contains(r.stdout, "MTU is 9000") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestSendErrors shows what becomes of a packet that cannot be sent: the guest
// is told, or ended when nobody is left to send to.
func TestSendErrors(t *testing.T) {
	s := newServices(t)
	use := func(fd int, kind device.Kind) *netDevice {
		d := device.Device{Name: "net", Type: image.Net, Kind: kind, FD: fd, Inherited: true, Writable: true}
		port, err := d.Private()
		if err != nil {
			t.Fatal(err)
		}
		return &netDevice{name: d.Name, port: port}
	}
	pair := func(typ int) [2]int {
		fds, err := unix.Socketpair(unix.AF_UNIX, typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fds
	}
	packet := make([]byte, 64)

	datagrams := pair(unix.SOCK_DGRAM)
	d := use(datagrams[0], device.Packet)
	if _, result, err := d.send(&s.waits, packet); result != resultOK || err != nil {
		t.Errorf("datagram: %d, %v", result, err)
	}
	unix.Close(datagrams[1])
	if _, result, err := d.send(&s.waits, packet); result != resultEUnspc || err != nil {
		t.Errorf("datagram to nobody: %d, %v", result, err)
	}
	unix.Close(datagrams[0])

	stream := pair(unix.SOCK_STREAM)
	d = use(stream[0], device.Stream)
	unix.Close(stream[1])
	_, _, err := d.send(&s.waits, packet)
	var why *stop
	if !errors.As(err, &why) || why.signal != int(unix.SIGPIPE) || why.status != 141 {
		t.Errorf("stream to nobody: %v", err)
	}
	unix.Close(stream[0])

	readOnly := open(t, "/dev/null", unix.O_RDONLY)
	if _, result, err := use(readOnly, device.Null).send(&s.waits, packet); result != resultEINVAL || err != nil {
		t.Errorf("device that is only read: %d, %v", result, err)
	}
}

// An error of a file is none of the ends that look like one: /proc/self/mem,
// like a disk with a defect, gives EIO.
func TestReadError(t *testing.T) {
	for _, kind := range []device.Kind{device.File, device.TTY} {
		fd := open(t, "/proc/self/mem", unix.O_RDONLY)
		d := netDevice{name: "net", port: device.Port{FD: fd}, endsStream: true, terminal: kind == device.TTY}
		n, result, err := d.read(make([]byte, 64))
		if kind == device.TTY {
			if n != 0 || result != resultOK || err != nil {
				t.Errorf("terminal: %d, %d, %v", n, result, err)
			}
			continue
		}
		var why *stop
		if !errors.As(err, &why) || why.status != 1 || !strings.Contains(why.reason, "input/output error") {
			t.Errorf("file: %d, %d, %v", n, result, err)
		}
	}
}
