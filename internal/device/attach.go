package device

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/raw"
)

// Set is a guest's attached devices.
type Set struct {
	Devices []Device // in the manifest's order
}

// Attach opens and checks everything that o names for the devices of m, and
// fills in the host's part of their entries: MAC, MTU, Capacity, BlockSize,
// HostFD and Attached. A backend whose guests must not see descriptor numbers
// clears HostFD.
//
// m comes from image.ParseManifest, which vouches for the names and types in it.
// Every device must be attached, else the error is a *NotAttachedError; a
// setting for a device that m lacks is an *UndeclaredError. On any error
// everything that was opened is closed again and m is unchanged.
//
// The descriptors it opens have numbers above 2 and FD_CLOEXEC set. An
// inherited descriptor, its description and its offset are left as they are.
func Attach(m image.Manifest, o *Options) (*Set, error) {
	return attach(m, o, (*Device).open)
}

// Prepare is Attach for an executable that opens its network devices when it
// starts, perhaps elsewhere: network devices are not opened or looked at (Kind
// is 0, FD is the inherited number or -1, MTU is what was set or DefaultMTU).
// Block devices are, since their capacity becomes part of the policy.
func Prepare(m image.Manifest, o *Options) (*Set, error) {
	return attach(m, o, func(d *Device, o *Options) error {
		if d.Type == image.Block {
			return d.open(o)
		}
		if d.MTU == 0 {
			d.MTU = DefaultMTU
		}
		return nil
	})
}

func attach(m image.Manifest, o *Options, open func(*Device, *Options) error) (*Set, error) {
	if o == nil {
		o = &Options{}
	}
	devices, err := match(m, o)
	if err != nil {
		return nil, err
	}
	if err := distinct(devices); err != nil {
		return nil, err
	}
	s := raw.New[Set]()
	s.Devices = devices
	for i := range s.Devices {
		d := &s.Devices[i]
		if d.Type == image.Net && d.MAC == [6]byte{} {
			if d.MAC, err = randomMAC(); err != nil {
				return nil, err
			}
		}
	}
	if err := o.attachUser(devices); err != nil {
		return nil, err
	}
	// Inherited descriptors first: once others are open, a wrong number
	// could hit one of them. User networks last: one starts a process.
	for _, inherited := range []bool{true, false} {
		for i := range s.Devices {
			d := &s.Devices[i]
			if d.Inherited != inherited {
				continue
			}
			if err := open(d, o); err != nil {
				s.Close()
				return nil, fmt.Errorf("%s: %w", Declared{d.Name, d.Type}, err)
			}
		}
	}
	for _, d := range s.Devices {
		e := &m[d.Handle]
		e.Capacity, e.BlockSize = d.Capacity, d.BlockSize
		e.MAC, e.MTU = d.MAC, d.MTU
		e.HostFD, e.Attached = int32(d.FD), true
	}
	return s, nil
}

// distinct refuses one descriptor or tap for two devices: each would take the
// other's input, and the kernel takes neither twice.
func distinct(devices []Device) error {
	for i, d := range devices {
		for _, e := range devices[:i] {
			if d.Type != image.Net || e.Type != image.Net {
				continue
			}
			what := ""
			switch {
			case d.Inherited && e.Inherited && d.FD == e.FD:
				what = fmt.Sprintf("descriptor %d", d.FD)
			case d.Path != "" && d.Path == e.Path:
				what = fmt.Sprintf("interface %q", d.Path)
			default:
				continue
			}
			return fmt.Errorf("%s is attached to both net %s and net %s; each network device needs its own", what, quote(e.Name), quote(d.Name))
		}
	}
	return nil
}

// open opens or checks the device's host resource. FD is owned when it returns
// nil, and -1 or inherited when it fails.
func (d *Device) open(o *Options) error {
	switch {
	case d.Type == image.Block && d.Inherited:
		return d.inheritBlock(o.AllowCloexec)
	case d.Type == image.Block:
		return d.openBlock()
	case d.Inherited:
		return d.inherit(o.AllowCloexec)
	case d.User != nil:
		return d.openUser()
	}
	return d.openTap()
}

// Close closes what Attach opened, and leaves inherited descriptors open. It
// may be called more than once.
func (s *Set) Close() {
	for i := range s.Devices {
		if d := &s.Devices[i]; !d.Inherited && d.FD >= 0 {
			raw.Close(d.FD)
			d.FD = -1
		}
	}
}

// aboveStdio moves an open descriptor to a number above 2, so that whoever
// prints to 0, 1 or 2 never prints into a device. fd is consumed.
func aboveStdio(fd int) (int, error) {
	if fd > 2 {
		return fd, nil
	}
	moved, err := raw.Fcntl(fd, unix.F_DUPFD_CLOEXEC, 3)
	raw.Close(fd)
	if err != nil {
		return -1, fmt.Errorf("cannot move descriptor %d above 2: %w", fd, err)
	}
	return moved, nil
}

// ErrRandomMAC means that the host gives no random address for a network device
// without one.
var ErrRandomMAC = errors.New("no random MAC address")

// randomMAC makes a locally administered unicast address.
func randomMAC() (mac [6]byte, err error) {
	for {
		n, err := raw.Getrandom(mac[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n != len(mac) {
			return mac, fmt.Errorf("%w: getrandom gave %d of %d bytes: %w", ErrRandomMAC, n, len(mac), err)
		}
		mac[0] = mac[0]&^1 | 2
		return mac, nil
	}
}
