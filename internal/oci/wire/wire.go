// Package wire gives a guest the network interfaces of its container: two rules of
// the kernel's traffic control pass frames between each interface and a tap. The
// guest has the interface's address and speaks on its link.
//
// A socket on the interface would be simpler, and wrong: the other end of a veth
// pair, which is most containers' link, leaves checksums and segments of its own
// host's packets to be filled in by hardware that is not there. On their way to a
// tap, which offers to do neither, the kernel does both. A bridge between the two
// would need the interface's addresses taken away from it, which engines look at.
package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is one of a container's.
type Interface struct {
	Name    string
	MAC     net.HardwareAddr
	MTU     int
	IPv4    []string // addresses as A/N
	IPv6    []string
	Gateway string // the default router, of IPv4; "" without
	Router6 string // and of IPv6

	link netlink.Link
}

// Namespace calls f in the network namespace at path, in a thread of its own.
func Namespace(path string, f func() error) error {
	done := make(chan error)
	go func() {
		// It stays locked, so that the thread ends with this.
		runtime.LockOSThread()
		done <- func() error {
			ns, err := os.Open(path)
			if err != nil {
				return fmt.Errorf("network namespace: %w", err)
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("network namespace %s: %w", path, err)
			}
			return f()
		}()
	}()
	return <-done
}

// Interfaces lists the Ethernet interfaces that are up, in the order in which they
// were made, without guests' taps. It is for use in Namespace.
func Interfaces() ([]Interface, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	slices.SortFunc(links, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	var all []Interface
	for _, l := range links {
		a := l.Attrs()
		if a.EncapType != "ether" || a.Flags&net.FlagUp == 0 || len(a.HardwareAddr) != 6 || isOwn(l) {
			continue
		}
		i := Interface{Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU, link: l}
		if err := i.addresses(); err != nil {
			return nil, fmt.Errorf("interface %s: %w", a.Name, err)
		}
		all = append(all, i)
	}
	return all, nil
}

// ownName is what the names of guests' taps begin with. A tap of another name is a
// rootless engine's, whose user network is at its other end.
const ownName = "gocat"

func isOwn(l netlink.Link) bool {
	return (l.Type() == "tuntap" || l.Type() == "tun") && strings.HasPrefix(l.Attrs().Name, ownName)
}

// addresses asks for addresses and routers.
func (i *Interface) addresses() error {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all, err := netlink.AddrList(i.link, family)
		if err != nil {
			return err
		}
		for _, a := range all {
			switch {
			case a.Scope != int(netlink.SCOPE_UNIVERSE):
			case family == netlink.FAMILY_V4:
				i.IPv4 = append(i.IPv4, a.IPNet.String())
			default:
				i.IPv6 = append(i.IPv6, a.IPNet.String())
			}
		}
		routes, err := netlink.RouteList(i.link, family)
		if err != nil {
			return err
		}
		for _, r := range routes {
			if r.Gw == nil || r.Dst != nil && !r.Dst.IP.IsUnspecified() {
				continue
			}
			if family == netlink.FAMILY_V4 && i.Gateway == "" {
				i.Gateway = r.Gw.String()
			} else if family == netlink.FAMILY_V6 && i.Router6 == "" {
				i.Router6 = r.Gw.String()
			}
		}
	}
	return nil
}

// Take makes a tap and leads all that comes to the interface there, and all that
// comes from the tap out of the interface. The tap is there as long as its
// descriptor is open. Where an earlier guest had the interface, it is as for the
// first.
func (i *Interface) Take() (*os.File, error) {
	tap, err := i.tap()
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", i.Name, err)
	}
	return tap, nil
}

func (i *Interface) tap() (*os.File, error) {
	// TUNSETIFF waits for nothing, and reads and writes are the guest's.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	tap := os.NewFile(uintptr(fd), "tap")
	name := fmt.Sprintf(ownName+"%d", i.link.Attrs().Index)
	request, err := unix.NewIfreq(name)
	if err != nil {
		tap.Close()
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err == unix.EBUSY {
		err = errors.New("another guest in the same network has it")
	}
	if err == nil {
		err = i.connect(name)
	}
	if err != nil {
		tap.Close()
		return nil, err
	}
	return tap, nil
}

// connect leads the frames to and fro.
func (i *Interface) connect(name string) error {
	tap, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	// The host must not send on the guest's link. With IPv6 disabled it does
	// not.
	err = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := netlink.LinkSetMTU(tap, i.MTU); err != nil {
		return fmt.Errorf("tap: MTU %d: %w", i.MTU, err)
	}
	if err := redirect(i.link, tap); err != nil {
		return err
	}
	if err := redirect(tap, i.link); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		return fmt.Errorf("tap: %w", err)
	}
	return nil
}

// redirect leads all that comes to one interface out of another. The kernel matches
// by u32, which is the oldest, and so in every kernel; matchall need not be.
func redirect(from, to netlink.Link) error {
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	// One that a guest before has left leads nowhere.
	if err := netlink.QdiscDel(ingress); err != nil && !absent(err) {
		return fmt.Errorf("traffic control of %s: %w", from.Attrs().Name, err)
	}
	if err := netlink.QdiscAdd(ingress); err != nil {
		return fmt.Errorf("traffic control of %s: %w", from.Attrs().Name, err)
	}
	all := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: from.Attrs().Index, Parent: ingress.Handle, Priority: 1, Protocol: unix.ETH_P_ALL},
		Actions:     []netlink.Action{netlink.NewMirredAction(to.Attrs().Index)},
	}
	if err := netlink.FilterAdd(all); err != nil {
		return fmt.Errorf("traffic control of %s: filter u32 with mirred: %w", from.Attrs().Name, err)
	}
	return nil
}

// absent reports whether there was nothing to delete.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || strings.Contains(err.Error(), "no such")
}
