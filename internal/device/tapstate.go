package device

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// TapSetting is an ioctl that undoes what an earlier user of a tap may have left:
// the settings below belong to the interface and outlive who made them. Anybody
// who may attach to the tap may make them.
type TapSetting struct {
	Request int
	Data    string // what the argument points to; "" where the argument is the number 0
	Must    bool   // every kernel and every kind of tap has it
}

// TapSettings lists what puts a tap into the state of a new one, as far as a
// guest can tell.
func TapSettings() []TapSetting { return tapSettings[:] }

var tapSettings = [...]TapSetting{
	// A queue that was detached, of an inherited tap with several: an attached one
	// fails it.
	{unix.TUNSETQUEUE, attachQueue, false},
	// No packets whose checksum or segmentation is left to the reader, who gets no
	// header that says so.
	{unix.TUNSETOFFLOAD, "", true},
	// All addresses: an empty struct tun_filter (linux/if_tun.h).
	{unix.TUNSETTXFILTER, "\x00\x00\x00\x00", false},
	// No program that drops or shortens packets: descriptor -1.
	{unix.TUNSETFILTEREBPF, "\xff\xff\xff\xff", false},
	// No program that has packets wait in the queue of somebody else.
	{unix.TUNSETSTEERINGEBPF, "\xff\xff\xff\xff", false},
	// No bound on what is being sent: INT_MAX.
	{unix.TUNSETSNDBUF, "\xff\xff\xff\x7f", false},
	// A carrier.
	{unix.TUNSETCARRIER, "\x01\x00\x00\x00", false},
}

// attachQueue is a struct ifreq with the flag IFF_ATTACH_QUEUE.
const attachQueue = noName + "\x00\x02" + noName + "\x00\x00\x00\x00\x00\x00"

// noName is that of no interface (IFNAMSIZ).
const noName = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// OtherLink refuses a tap whose type was changed (TUNSETLINK), which the kernel lets
// nobody undo while it is up: to the host it is no Ethernet.
const OtherLink = "its link type is not Ethernet's, as TUNSETLINK has left it; make it anew"

// EthernetLink is the link type of Ethernet (linux/if_arp.h).
const EthernetLink = 1

// settleTap makes the settings on fd, a tap.
func settleTap(fd int) error {
	var r hardwareRequest
	if raw.Ioctl(fd, unix.SIOCGIFHWADDR, &r) == nil && r.family != EthernetLink {
		return errors.New(OtherLink)
	}
	for i := range tapSettings {
		s := &tapSettings[i]
		err := raw.IoctlString(fd, s.Request, s.Data)
		if err != nil && s.Must {
			return fmt.Errorf("cannot turn its offloads off: ioctl TUNSETOFFLOAD: %w", err)
		}
	}
	return nil
}

// PassAll is a struct sock_filter that lets every packet pass. On a tap with a
// socket filter TUNGETIFF tells IFF_NO_PI, whose bit it otherwise uses for
// IFF_NOFILTER: the tap has none.
const PassAll = "\x06\x00\x00\x00\xff\xff\xff\xff" // BPF_RET | BPF_K

// tapRequest fills in the interface's name and its flags (IFF_TAP, IFF_NO_PI and
// more), ok being false where fd is no tap or tun at all. A socket filter that a
// tap has is gone afterwards.
func tapRequest(fd int, r *unix.Ifreq) (ok bool, err error) {
	switch err := raw.Ioctl(fd, unix.TUNGETIFF, r); err {
	case nil:
	case unix.EBADFD:
		return true, err
	default:
		return false, nil
	}
	if r.Uint16()&unix.IFF_TAP != 0 && raw.AttachFilter(fd, PassAll) == nil {
		err := raw.Ioctl(fd, unix.TUNGETIFF, r)
		raw.IoctlString(fd, unix.TUNDETACHFILTER, PassAll+PassAll) // a struct sock_fprog, not looked at
		return true, err
	}
	return true, nil
}
