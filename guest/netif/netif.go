// Package netif is a network interface for unikernels, with the terms of
// MirageOS's mirage-net: packets, callbacks and buffers of at most an MTU.
package netif

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"gocat/guest/solo5"
)

// Netif is a network interface that is connected to a device.
type Netif struct {
	dev          solo5.Device
	disconnected atomic.Bool
}

// ErrDisconnected is the error of an interface after Disconnect.
var ErrDisconnected = errors.New("netif: disconnected")

// Connect connects to the network device of a name. Unless log is nil, it gets
// the line that MirageOS prints.
func Connect(name string, log io.Writer) (*Netif, error) {
	d, err := solo5.Acquire(name, solo5.Net)
	if err != nil {
		return nil, fmt.Errorf("network device %q: %w", name, err)
	}
	if log != nil {
		fmt.Fprintf(log, "INF [netif] Plugging into %s with mac %s mtu %d\n", name, d.MAC, d.MTU)
	}
	return &Netif{dev: d}, nil
}

// MAC is the interface's address, 6 bytes.
func (n *Netif) MAC() []byte { return n.dev.MAC }

// MTU is the most bytes of payload in a packet, without the Ethernet header.
func (n *Netif) MTU() int { return n.dev.MTU }

// Listen reads packets of at most headerSize + MTU bytes and calls fn with each
// one, in the order of their arrival; a longer packet is cut. The packet is fn's
// to keep. It returns nil when the device's input is at its end, ErrDisconnected
// after Disconnect, which a call that waits for input does not notice, and else
// the device's error.
//
// MirageOS starts a task for each packet. Here fn runs in the caller's goroutine,
// so that what arrives is handled in order; it may start goroutines itself.
func (n *Netif) Listen(headerSize int, fn func(packet []byte)) error {
	size := headerSize + n.dev.MTU
	// One allocation holds many packets: a tap's are 1.5 KB, and a collection
	// in each 4 MB of them costs more than the copies that this saves.
	var buf []byte
	for {
		if n.disconnected.Load() {
			return ErrDisconnected
		}
		if len(buf) < size {
			buf = make([]byte, max(size, 64<<10/size*size))
		}
		got, err := solo5.NetWait(n.dev.Handle, buf[:size])
		if err != nil {
			return err
		}
		if got == 0 {
			return nil
		}
		packet := buf[:got:got]
		buf = buf[got:]
		fn(packet)
	}
}

// Write allocates a zeroed buffer of size bytes, which must not exceed the MTU
// and an Ethernet header, has fill put a packet into it and return its length,
// and sends that much.
func (n *Netif) Write(size int, fill func([]byte) int) error {
	const ethernetHeader = 14
	if n.disconnected.Load() {
		return ErrDisconnected
	}
	if size < 0 || size > n.dev.MTU+ethernetHeader {
		return fmt.Errorf("netif: packet of %d bytes, at most %d", size, n.dev.MTU+ethernetHeader)
	}
	buf := make([]byte, size)
	length := fill(buf)
	if length < 0 || length > size {
		return fmt.Errorf("netif: packet of %d bytes in a buffer of %d", length, size)
	}
	sent, err := solo5.NetWrite(n.dev.Handle, buf[:length])
	if err == nil && sent < length {
		err = io.ErrShortWrite
	}
	return err
}

// Disconnect ends Listen before its next packet, and makes Write fail.
func (n *Netif) Disconnect() { n.disconnected.Store(true) }
