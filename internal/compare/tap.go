package compare

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// tapName is the interface of every run: each has a network namespace of its
// own, and there is nothing else in it.
const tapName = "gocat0"

// frameSize is the size in bytes of a frame with its header of 14.
const frameSize = 714

// onThread runs f on a thread that ends with it, and with the thread what f made
// of it: a network namespace with its interfaces.
func onThread(f func()) {
	done := make(chan struct{})
	var start func()
	start = func() {
		runtime.LockOSThread() // never unlocked
		if unix.Gettid() == os.Getpid() {
			// The main thread alone does not end. While this goroutine
			// holds it, the other gets another.
			go start()
			<-done
			runtime.UnlockOSThread()
			return
		}
		f()
		close(done)
	}
	go start()
	<-done
}

// openTap moves the thread into an empty network namespace, where it makes a tap
// and a socket that sends frames to whoever opens it. See onThread.
func openTap() (*input, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("cannot make a network namespace for a tap: %w", err)
	}
	if err := makeTap(); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	in := &input{device: tapName, data: frames(), empty: -1, writer: ours(fd), piece: frameSize}
	ifr, err := request(fd, unix.SIOCGIFINDEX, 0)
	if err == nil {
		// Past the queue, which swallows frames while no tender has the tap
		// open; so they are refused, and feed tries again.
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: int(ifr.Uint32())})
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("packet socket on %s: %w", tapName, err)
	}
	return in, nil
}

// makeTap makes a tap that stays when nobody has it open, and brings it up.
func makeTap() error {
	// IPv6 would send frames of its own. The file is this namespace's; a
	// kernel without IPv6 has none.
	os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("no taps: open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	if _, err := request(fd, unix.TUNSETIFF, unix.IFF_TAP|unix.IFF_NO_PI); err != nil {
		return fmt.Errorf("cannot make a tap: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("cannot keep a tap: %w", err)
	}
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(sock)
	if _, err := request(sock, unix.SIOCSIFFLAGS, unix.IFF_UP|unix.IFF_NOARP); err != nil {
		return fmt.Errorf("cannot bring a tap up: %w", err)
	}
	return nil
}

// request makes an ioctl request about the tap, with flags if they are not 0.
func request(fd int, req uint, flags uint16) (*unix.Ifreq, error) {
	ifr, err := unix.NewIfreq(tapName)
	if err != nil {
		return nil, err
	}
	if flags != 0 {
		ifr.SetUint16(flags)
	}
	return ifr, unix.IoctlIfreq(fd, req, ifr)
}

// frames returns frames of a protocol that is free for experiments (IEEE 802).
func frames() []byte {
	b := data(pieces * frameSize)
	for at := 0; at < len(b); at += frameSize {
		copy(b[at:], "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5")
	}
	return b
}
