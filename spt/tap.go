package spt

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/plan"
	"gocat/internal/raw"
)

// settle plans that a tap is as a new one.
func (d *descriptors) settle(dev *device.Device) {
	request := d.Store(make([]byte, 40)) // struct ifreq, with a struct sockaddr after the name
	d.When(plan.Exact, 0, func() {
		d.Must(raw.Concat(what(*dev), ": ", device.OtherLink), 0, plan.Differ, request+unix.IFNAMSIZ, plan.Words(device.EthernetLink), 0xffff)
	}, unix.SYS_IOCTL, dev.FD, unix.SIOCGIFHWADDR, request)
	for _, s := range device.TapSettings() {
		var arg any = 0
		if s.Data != "" {
			arg = raw.Bytes(s.Data)
		}
		if s.Must {
			d.Must(raw.Concat(what(*dev), ": could not turn the tap's offloads off"), 0, unix.SYS_IOCTL, dev.FD, s.Request, arg)
		} else {
			d.Try(unix.SYS_IOCTL, dev.FD, s.Request, arg)
		}
	}
}

// tap plans that an inherited tap, which a sealed guest's Attach has not seen, has
// frames without headers and is as a new one.
func (d *descriptors) tap(dev *device.Device) {
	if dev.Kind != 0 {
		return
	}
	fd := raw.Concat(what(*dev), ": descriptor ", raw.Decimal(uint64(dev.FD)))
	request := d.Store(make([]byte, 40)) // struct ifreq
	flags := request + unix.IFNAMSIZ
	d.When(plan.Exact, plan.Errno(unix.EBADFD), func() {
		d.Must(raw.Concat(fd, " is /dev/net/tun without an interface"), 0, unix.SYS_GETPID)
	}, unix.SYS_IOCTL, dev.FD, unix.TUNGETIFF, request)
	d.When(plan.Exact, 0, func() {
		d.Must(raw.Concat(fd, " is a tun, which carries IP packets; a guest wants Ethernet, a tap"), 0,
			plan.Differ, flags, plan.Words(unix.IFF_TAP), unix.IFF_TAP)
		// With a socket filter TUNGETIFF tells IFF_NO_PI: see device.PassAll.
		filter := d.Program(1, raw.Bytes(device.PassAll))
		d.Try(unix.SYS_IOCTL, dev.FD, unix.TUNATTACHFILTER, filter)
		d.Try(unix.SYS_IOCTL, dev.FD, unix.TUNGETIFF, request)
		d.Try(unix.SYS_IOCTL, dev.FD, unix.TUNDETACHFILTER, filter)
		d.When(plan.Exact, 1, func() {
			// A macvtap's headers can be turned off, a tap's are for good.
			without := make([]byte, 40)
			binary.LittleEndian.PutUint16(without[unix.IFNAMSIZ:], unix.IFF_TAP|unix.IFF_NO_PI)
			d.Must(raw.Concat(fd, " is a tap with a header before each frame; attach it with IFF_NO_PI and without IFF_VNET_HDR"), 0,
				unix.SYS_IOCTL, dev.FD, unix.TUNSETIFF, without)
		}, plan.Differ, flags, plan.Words(unix.IFF_NO_PI), unix.IFF_NO_PI|unix.IFF_VNET_HDR)
		d.settle(dev)
	}, unix.SYS_IOCTL, dev.FD, unix.TUNGETIFF, request)
}
