package testhost

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Netns moves t's goroutine into an empty network namespace of its own, where
// it stays: the thread is locked to it and ends with it.
func Netns(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		Skip(t, "cannot make a network namespace: "+err.Error())
	}
}

// Tap makes a persistent interface in this network namespace with the flags of
// TUNSETIFF (IFF_TAP or IFF_TUN and more) and leaves it down and unattached.
func Tap(t testing.TB, name string, flags uint16) {
	t.Helper()
	fd := OpenTap(t, name, flags)
	defer unix.Close(fd)
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		t.Fatalf("TUNSETPERSIST %s: %v", name, err)
	}
}

// OpenTap attaches to the interface, made if it does not exist, and returns the
// descriptor, which is the caller's to close.
func OpenTap(t testing.TB, name string, flags uint16) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		Skip(t, "no taps: open /dev/net/tun: "+err.Error())
	}
	ifr := ifreq(t, name)
	ifr.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		unix.Close(fd)
		t.Fatalf("TUNSETIFF %s: %v", name, err)
	}
	return fd
}

// Up brings an interface of this network namespace up with the given MTU.
func Up(t testing.TB, name string, mtu uint32) {
	t.Helper()
	sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("socket: %v", err)
	}
	defer unix.Close(sock)
	ifr := ifreq(t, name)
	ifr.SetUint32(mtu)
	if err := unix.IoctlIfreq(sock, unix.SIOCSIFMTU, ifr); err != nil {
		t.Fatalf("SIOCSIFMTU %s: %v", name, err)
	}
	ifr = ifreq(t, name)
	ifr.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatalf("SIOCSIFFLAGS %s: %v", name, err)
	}
}

// Address gives an interface of this network namespace an IPv4 address.
func Address(t testing.TB, name string, address netip.Prefix) {
	t.Helper()
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("socket: %v", err)
	}
	defer unix.Close(sock)
	for _, set := range []struct {
		request uint
		name    string
		value   net.IP
	}{
		{unix.SIOCSIFADDR, "SIOCSIFADDR", address.Addr().AsSlice()},
		{unix.SIOCSIFNETMASK, "SIOCSIFNETMASK", net.IP(net.CIDRMask(address.Bits(), 32))},
	} {
		ifr := ifreq(t, name)
		if err := ifr.SetInet4Addr(set.value); err != nil {
			t.Fatalf("address %v: %v", address, err)
		}
		if err := unix.IoctlIfreq(sock, set.request, ifr); err != nil {
			t.Fatalf("%s %s: %v", set.name, name, err)
		}
	}
}

func ifreq(t testing.TB, name string) *unix.Ifreq {
	t.Helper()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatalf("interface name %q: %v", name, err)
	}
	return ifr
}
