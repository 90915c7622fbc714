package gateway

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"gocat/internal/testhost"
)

// Sizes of what two sides send each other at once: more than fits all buffers on
// the way: 32 MiB in the kernel, if it has as much as it may.
const (
	question = 24 << 20
	response = 48 << 20
)

// eager reads what comes, and sends at the same time, in pieces of odd lengths.
func eager(c net.Conn) error {
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		b := make([]byte, 100_000)
		for left := response; left > 0; {
			n, err := c.Write(b[:min(left, 1+rand.IntN(len(b)))])
			if err != nil {
				sent <- err
				return
			}
			left -= n
		}
		sent <- nil
	}()
	if n, err := io.CopyN(io.Discard, c, question); err != nil {
		return fmt.Errorf("%d bytes of the question came: %w", n, err)
	}
	return <-sent
}

// patient reads nothing before it has sent all.
func patient(c net.Conn) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	if n, err := c.Write(make([]byte, question)); err != nil {
		return fmt.Errorf("%d bytes of the question went: %w", n, err)
	}
	if n, err := io.CopyN(io.Discard, c, response); err != nil {
		return fmt.Errorf("%d bytes of the answer came: %w", n, err)
	}
	return nil
}

// Two sides that send at once get on, one of which reads only afterwards.
func TestBothSend(t *testing.T) {
	for _, mtu := range []string{"", ",mtu=1500", ",mtu=9000"} {
		n := testNetwork(t, loopback+mtu, nil)
		port, at := publish(t, 80)
		in := join(t, n, 1, "web", port).boot()
		in.port.heard.Store(true) // so that it gets no connections that end at once
		inside := in.listen(80)
		outside, to := hostTCP(t)
		results := make(chan error, 4)
		go func() { results <- acceptOne(inside, eager) }()
		go func() { results <- acceptOne(outside, patient) }()
		published, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		go func() { results <- patient(published) }()
		outbound, err := in.dial(netip.AddrPortFrom(n.opt.Gateway4(), to.Port()))
		if err != nil {
			t.Fatal(err)
		}
		go func() { results <- eager(outbound) }()
		for range cap(results) {
			if err := <-results; err != nil {
				t.Errorf("%s: %v", mtu, err)
			}
		}
	}
}

// acceptOne serves one connection.
func acceptOne(l net.Listener, serve func(net.Conn) error) error {
	c, err := l.Accept()
	if err != nil {
		return err
	}
	return serve(c)
}

// rawTCP is a guest's connection, of which it makes the segments itself.
type rawTCP struct {
	*peer
	to       netip.AddrPort
	seq, ack uint32
	edge     uint32 // up to which the gateway has said that it takes data
	scale    int
}

const (
	rawPort  = 4711
	rawScale = 7 // of the windows that it announces
)

// segment sends a segment.
func (c *rawTCP) segment(flags header.TCPFlags, options []byte, payload ...byte) {
	h := header.TCP(make([]byte, header.TCPMinimumSize+len(options)))
	h.Encode(&header.TCPFields{SrcPort: rawPort, DstPort: c.to.Port(), SeqNum: c.seq, AckNum: c.ack,
		DataOffset: uint8(len(h)), Flags: flags, WindowSize: 60000})
	copy(h[header.TCPMinimumSize:], options)
	c.write(ip4Frame(c.mac, MAC, 6, c.IPv4, c.to.Addr(), 0, append(h, payload...)...))
	c.seq += uint32(len(payload))
}

// receive takes the next segment, nil if none comes in time.
func (c *rawTCP) receive(timeout time.Duration) header.TCP {
	b := c.read(timeout, func(b []byte) bool {
		return len(b) >= 54 && b[12] == 8 && b[13] == 0 && b[23] == 6 && binary.BigEndian.Uint16(b[36:]) == rawPort
	})
	if b == nil {
		return nil
	}
	ip := header.IPv4(b[14:])
	h := header.TCP(ip.Payload())
	if data := h.Payload(); !h.IsChecksumValid(ip.SourceAddress(), ip.DestinationAddress(), checksum.Checksum(data, 0), uint16(len(data))) {
		c.Errorf("a segment with a wrong checksum: %x", []byte(h[:h.DataOffset()]))
	}
	if edge := h.AckNumber() + uint32(h.WindowSize())<<c.scale; int32(edge-c.edge) > 0 {
		c.edge = edge
	}
	return h
}

// connect makes the connection.
func (c *rawTCP) connect() {
	c.segment(header.TCPFlagSyn, []byte{header.TCPOptionWS, 3, rawScale, header.TCPOptionNOP})
	h := c.receive(20 * time.Second)
	if h == nil || h.Flags() != header.TCPFlagSyn|header.TCPFlagAck {
		c.Fatalf("handshake: %x", []byte(h))
	}
	c.scale = header.ParseSynOptions(h.Options(), true).WS
	c.seq, c.ack = c.seq+1, h.SequenceNumber()+1
	c.edge = c.seq + uint32(h.WindowSize()) // which is not scaled yet
	c.segment(header.TCPFlagAck, nil)
}

// A guest may fill the window that it was told to the last byte, and what it says
// from then on is heard: that it has received what the other side sends, above all.
func TestFullWindow(t *testing.T) {
	for _, last := range []uint32{1, 3, 5, 7, 9, 11, 13, 15} { // less than a unit of the window
		t.Run(fmt.Sprint(last), func(t *testing.T) {
			t.Parallel()
			n := testNetwork(t, loopback, nil)
			l, to := hostTCP(t)
			c := &rawTCP{peer: join(t, n, 1, "web"), to: netip.AddrPortFrom(n.opt.Gateway4(), to.Port()), seq: 1000}
			c.connect()
			host, err := l.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer host.Close()
			host.SetReadBuffer(4096)
			for c.receive(time.Second) != nil || c.edge-c.seq > last { // until it takes no more, and has said so
				for c.edge-c.seq > last {
					c.segment(header.TCPFlagAck|header.TCPFlagPsh, nil, make([]byte, min(c.edge-c.seq-last, 9000))...)
				}
			}
			c.segment(header.TCPFlagAck|header.TCPFlagPsh, nil, make([]byte, c.edge-c.seq)...)
			const more = 400_000
			go host.Write(make([]byte, more))
			got := uint32(0)
			for begin := c.ack; got < more; got = c.ack - begin {
				h := c.receive(20 * time.Second)
				if h == nil {
					t.Fatalf("after %d bytes nothing more comes: what the guest acknowledges is not heard", got)
				}
				if h.SequenceNumber() == c.ack {
					c.ack += uint32(len(h.Payload()))
				}
				c.segment(header.TCPFlagAck, nil)
			}
		})
	}
}

// A connection that a guest breaks off breaks off for the other side too, also while
// that side reads nothing of what the guest has sent.
func TestGuestBreaksOff(t *testing.T) {
	testhost.Slow(t)
	t.Parallel()
	n := testNetwork(t, "user", nil)
	port, at := publish(t, 80)
	in := join(t, n, 1, "web", port).boot()
	in.port.heard.Store(true)
	l := in.listen(80)
	go acceptOne(l, func(c net.Conn) error {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		_, err := c.Write(make([]byte, response)) // more than anybody takes
		c.Close()                                 // what it has not read makes that a reset
		return err
	})
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * lingerTime))
	_, err = c.Write(make([]byte, question))
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write: %v, want an error of the connection", err)
	}
}
