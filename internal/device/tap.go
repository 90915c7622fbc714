package device

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// openTap attaches to the existing tap d.Path and reads its MTU.
func (d *Device) openTap() error {
	// Any socket reaches the interfaces of this network namespace; a Unix
	// one is there even where IP is not, or is filtered.
	sock, err := raw.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("interface %q: socket: %w", d.Path, err)
	}
	defer raw.Close(sock)
	// TUNSETIFF would make an interface that does not exist, so look first.
	index, err := checkUp(sock, d.Path)
	if err != nil {
		return err
	}
	fd, err := raw.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return fmt.Errorf("interface %q: cannot open /dev/net/tun: %w; %s", d.Path, err, tunHint(err))
	}
	if fd, err = aboveStdio(fd); err != nil {
		return err
	}
	mtu, err := attachTap(sock, fd, d.Path, index)
	if err != nil {
		raw.Close(fd)
		return err
	}
	if d.MTU == 0 {
		d.MTU = mtu
	}
	d.FD, d.Kind, d.Writable = fd, Tap, true
	return nil
}

// checkUp says whether the interface exists and is up, and returns its number. A
// tap that nobody has attached to has no carrier, so IFF_RUNNING is no condition.
func checkUp(sock int, name string) (index uint32, err error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("interface %q: %w", name, err)
	}
	switch err := raw.Ioctl(sock, unix.SIOCGIFFLAGS, ifr); err {
	case nil:
	case unix.ENODEV:
		return 0, fmt.Errorf("no interface %q: %w; make one: %s", name, unix.ENOENT, makeTap(name))
	default:
		return 0, fmt.Errorf("interface %q: cannot read its flags: %w", name, err)
	}
	if ifr.Uint16()&unix.IFF_UP == 0 {
		if notTap(name) {
			return 0, fmt.Errorf("interface %q: %w, and it is no tap; make one: %s", name, unix.ENETDOWN, makeTap("NAME"))
		}
		return 0, fmt.Errorf("interface %q: %w; bring it up: ip link set %s up", name, unix.ENETDOWN, name)
	}
	if err := raw.Ioctl(sock, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0, fmt.Errorf("interface %q: cannot read its number: %w", name, err)
	}
	return ifr.Uint32(), nil
}

// makeTap is the command that makes a tap for the user who runs this.
func makeTap(name string) string {
	if os.Geteuid() == 0 {
		return "ip tuntap add " + name + " mode tap && ip link set " + name + " up"
	}
	return "sudo ip tuntap add " + name + " mode tap user $(id -un) && sudo ip link set " + name + " up"
}

// notTap reports whether the kernel says that an interface is not a tap.
func notTap(name string) bool {
	const dir = "/sys/class/net/"
	_, err := os.Stat(dir + name + "/tun_flags")
	_, there := os.Stat(dir + name)
	return errors.Is(err, os.ErrNotExist) && there == nil
}

// flagsRequest is struct ifreq with ifr_flags (linux/if.h).
type flagsRequest struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// attachTap makes fd, an open /dev/net/tun, the tap's and returns its MTU. The
// name may be an alternative one; index is the interface's number.
func attachTap(sock, fd int, name string, index uint32) (uint16, error) {
	var r flagsRequest
	copy(r.name[:unix.IFNAMSIZ-1], name)
	r.flags = unix.IFF_TAP | unix.IFF_NO_PI
	if err := raw.Ioctl(fd, unix.TUNSETIFF, &r); err != nil {
		return 0, fmt.Errorf("interface %q: cannot attach: %w; %s", name, err, attachHint(err, name))
	}
	if got := r.name[:max(0, bytes.IndexByte(r.name[:], 0))]; string(got) != name {
		actual := raw.String(raw.Clone(got))
		if ifr, err := unix.NewIfreq(actual); err != nil || raw.Ioctl(sock, unix.SIOCGIFINDEX, ifr) != nil || ifr.Uint32() != index {
			return 0, fmt.Errorf("interface %q: the kernel attached %q instead", name, actual)
		}
		name = actual
	}
	mtu, err := interfaceMTU(sock, name)
	if err != nil {
		return 0, fmt.Errorf("interface %q: cannot read its MTU: %w", name, err)
	}
	disableOffload(sock, name)
	if err := settleTap(fd); err != nil {
		return 0, fmt.Errorf("interface %q: %w", name, err)
	}
	return mtu, nil
}

func tunHint(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "there is no such device file; load the tun module, and in a container pass the device in"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "the kernel has no tun driver; load the tun module"
	}
	return "it needs permission to read and to write"
}

func attachHint(err error, name string) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "it belongs to another user; be root, or make it yours: ip tuntap add " + name + " mode tap user $USER"
	case errors.Is(err, unix.EBUSY):
		return "another program is using it"
	case errors.Is(err, unix.EINVAL):
		return "it is not a single-queue tap; make one: ip tuntap add NAME mode tap user $USER; a macvtap has a device file, to be opened and inherited: 3<>/dev/tapNUMBER"
	}
	return "the tun driver refused it"
}

// interfaceMTU reads an interface's MTU in bytes.
func interfaceMTU(sock int, name string) (uint16, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := raw.Ioctl(sock, unix.SIOCGIFMTU, ifr); err != nil {
		return 0, err
	}
	mtu := ifr.Uint32()
	if mtu == 0 || mtu > 0xffff {
		return 0, fmt.Errorf("%d bytes do not fit the manifest's 16 bits: %w", mtu, unix.ERANGE)
	}
	return uint16(mtu), nil
}

// ethtoolRequest is struct ifreq with ifr_data (linux/if.h).
type ethtoolRequest struct {
	name [unix.IFNAMSIZ]byte
	data *ethtoolValue
	_    [16]byte
}

// ethtoolValue is struct ethtool_value (linux/ethtool.h).
type ethtoolValue struct {
	cmd, data uint32
}

// disableOffload turns receive merging (GRO) and segmentation offload (GSO)
// off, as Solo5's tenders do: merged frames are longer than the MTU and would
// be cut. It needs CAP_NET_ADMIN, and without it nothing is changed.
func disableOffload(sock int, name string) {
	for _, cmd := range [...]uint32{unix.ETHTOOL_SGRO, unix.ETHTOOL_SGSO} {
		r := ethtoolRequest{data: &ethtoolValue{cmd: cmd, data: 0}}
		copy(r.name[:unix.IFNAMSIZ-1], name)
		raw.Ioctl(sock, unix.SIOCETHTOOL, &r)
		runtime.KeepAlive(r.data)
	}
}

// isTap reports whether a character device is a tap, and refuses one whose
// packets are not plain Ethernet frames.
func isTap(fd int) (bool, error) {
	r, err := unix.NewIfreq("")
	if err != nil {
		return false, err
	}
	ok, err := tapRequest(fd, r)
	switch flags := r.Uint16(); {
	case err == unix.EBADFD:
		return false, fmt.Errorf("descriptor %d is /dev/net/tun without an interface, or its interface is gone; attach it to a tap first (TUNSETIFF)", fd)
	case !ok || err != nil:
		return false, err
	case flags&unix.IFF_TAP == 0:
		return false, fmt.Errorf("descriptor %d is the tun %q, which carries IP packets; a guest wants Ethernet, a tap", fd, r.Name())
	case flags&(unix.IFF_NO_PI|unix.IFF_VNET_HDR) == unix.IFF_NO_PI || plainFrames(fd) == nil:
		return true, nil
	case flags&unix.IFF_VNET_HDR != 0:
		return false, headers(fd, r, "without IFF_VNET_HDR")
	}
	return false, headers(fd, r, "with IFF_NO_PI")
}

// headers refuses a tap whose frames have headers.
func headers(fd int, r *unix.Ifreq, how string) error {
	return fmt.Errorf("descriptor %d is the tap %q with a header before each frame; attach it %s, or name the interface: --net NAME=%[2]q", fd, r.Name(), how)
}

// plainFrames turns the headers off on a macvtap, whose descriptor has them from
// the start. A tap's attachment is for good, and this fails.
func plainFrames(fd int) error {
	return raw.Ioctl(fd, unix.TUNSETIFF, &flagsRequest{flags: unix.IFF_TAP | unix.IFF_NO_PI})
}

// inheritedMTU is the MTU of an inherited tap's interface. The tap may belong
// to another network namespace, and then the name may mean another interface
// here: only one with the same address is taken for it.
func inheritedMTU(fd int) uint16 {
	tap, err := unix.NewIfreq("")
	if err != nil || raw.Ioctl(fd, unix.TUNGETIFF, tap) != nil {
		return DefaultMTU
	}
	name := tap.Name()
	sock, err := raw.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return DefaultMTU
	}
	defer raw.Close(sock)
	theirs, err := hardwareAddress(fd, name)
	if err != nil {
		return DefaultMTU
	}
	ours, err := hardwareAddress(sock, name)
	if err != nil || ours != theirs {
		return DefaultMTU
	}
	mtu, err := interfaceMTU(sock, name)
	if err != nil {
		return DefaultMTU
	}
	return mtu
}

// hardwareRequest is struct ifreq with ifr_hwaddr, a struct sockaddr.
type hardwareRequest struct {
	name   [unix.IFNAMSIZ]byte
	family uint16 // link type
	addr   [6]byte
	_      [16]byte
}

// hardwareAddress reads the Ethernet address of the interface that a tap's
// descriptor belongs to, or of the one that name means to a socket.
func hardwareAddress(fd int, name string) ([6]byte, error) {
	var r hardwareRequest
	copy(r.name[:unix.IFNAMSIZ-1], name)
	err := raw.Ioctl(fd, unix.SIOCGIFHWADDR, &r)
	return r.addr, err
}
