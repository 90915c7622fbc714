package net

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
)

// device is a network device that the image has.
type device struct {
	name string
	mac  [6]byte
	mtu  int
	// open returns what frames are read from.
	open func() (*os.File, error)
	// read reads frames from its descriptor and sets their lengths. It returns how
	// many it has looked for up to the last that there was, and EAGAIN if there was
	// none. The poller tells of more unless all were looked for.
	read func(fd uintptr, frames []syscall.Iovec) (int, syscall.Errno)
	// write sends frames and returns how many.
	write func(frames []syscall.Iovec) (int, syscall.Errno)
}

// link is a network device as the stack's lowest layer.
type link struct {
	*device
	mu         sync.RWMutex
	dispatcher stack.NetworkDispatcher
	mtuNow     uint32
	sending    sync.Mutex
	out        []byte          // frames that are being sent
	frames     []syscall.Iovec // where in it they are
}

func newLink(d *device) *link {
	n := batch(d.mtu)
	return &link{device: d, mtuNow: uint32(d.mtu), out: make([]byte, 0, n*(d.mtu+header.EthernetMinimumSize)),
		frames: make([]syscall.Iovec, 0, n)}
}

// Several frames come and go together, which is an exit of the guest where they
// go through the network ring; those of one connection that come together are one
// packet to the stack.
const (
	mostFrames  = 64
	leastFrames = 4
	batchSize   = 256 << 10 // bytes of frames, unless that is fewer than leastFrames
)

// batch is how many frames of an MTU go together at most.
func batch(mtu int) int {
	return max(leastFrames, min(mostFrames, batchSize/(mtu+header.EthernetMinimumSize)))
}

// receive hands the device's frames to the stack, except those for client, until
// the device's end.
func (l *link) receive(client *client) {
	f, err := l.open()
	if err != nil {
		refuse(err)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		refuse(err)
	}
	n := batch(l.mtu)
	in := input{link: l, client: client, want: leastFrames, views: make([]*buffer.View, n), frames: make([]syscall.Iovec, n)}
	in.together.Init(true)
	l.mu.RLock()
	in.together.Dispatcher = l.dispatcher
	l.mu.RUnlock()
	raw.Read(in.some) // again and again, when there is input
}

// input is what receive works with.
type input struct {
	link     *link
	client   *client
	together gro.GRO
	want     int             // frames to look for next
	views    []*buffer.View  // what those are read into
	frames   []syscall.Iovec // the same
}

// some reads frames until there are no more for now, and says whether there never
// will be.
func (in *input) some(fd uintptr) (end bool) {
	for {
		for i := range in.want {
			if in.views[i] == nil {
				in.views[i] = buffer.NewViewSize(in.link.mtu + header.EthernetMinimumSize)
			}
			b := in.views[i].AsSlice()
			in.frames[i] = syscall.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))}
		}
		n, e := in.link.read(fd, in.frames[:in.want])
		if e != 0 {
			in.want = max(in.want/2, leastFrames)
			return e != syscall.EAGAIN
		}
		got := 0
		for i := range n {
			size := in.frames[i].Len
			if size == 0 {
				end = true
			} else if v := in.views[i]; size <= uint64(v.Size()) { // not noFrame of the kernel
				// A small one is copied: room for a long frame has to be cleared
				// first, and keeping it for a few bytes would waste memory.
				if small := v.AsSlice()[:size]; len(small) < v.Size()/4 {
					v = buffer.NewViewWithData(small)
				} else {
					in.views[i] = nil
					v.CapLength(int(size))
				}
				in.take(v)
				got++
			}
		}
		in.together.Flush()
		all := n == in.want
		in.want = min(max(2*got, leastFrames), len(in.views)) // as many as lately, and more
		if end || !all {
			return end
		}
		runtime.Gosched() // those that it is for
	}
}

// take takes a frame.
func (in *input) take(v *buffer.View) {
	if in.client != nil && in.client.take(v.AsSlice()) {
		v.Release()
		return
	}
	in.frame(v)
}

// frame takes one frame, and v with it.
func (in *input) frame(v *buffer.View) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithView(v)})
	defer p.DecRef()
	h, ok := p.LinkHeader().Consume(header.EthernetMinimumSize)
	if !ok {
		return
	}
	eth := header.Ethernet(h)
	p.NetworkProtocolNumber = eth.Type()
	switch to := eth.DestinationAddress(); {
	case to == header.EthernetBroadcastAddress:
		p.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(to):
		p.PktType = tcpip.PacketMulticast
	case to == in.link.LinkAddress():
		p.PktType = tcpip.PacketHost
	default: // a switch may send what is for others
		return
	}
	in.together.Enqueue(p)
}

// WritePackets sends packets and returns how many were sent.
func (l *link) WritePackets(packets stack.PacketBufferList) (int, tcpip.Error) {
	l.sending.Lock()
	defer l.sending.Unlock()
	sent := 0
	for _, p := range packets.AsSlice() {
		start := len(l.out)
		for _, part := range p.AsSlices() {
			l.out = append(l.out, part...)
		}
		l.add(start)
		if len(l.frames) < cap(l.frames) {
			continue
		}
		n, e := l.flush()
		if sent += n; e != 0 {
			return sent, &tcpip.ErrAborted{}
		}
	}
	n, e := l.flush()
	if sent += n; e != 0 {
		return sent, &tcpip.ErrAborted{}
	}
	return sent, nil
}

// send sends one frame.
func (l *link) send(frame []byte) error {
	l.sending.Lock()
	defer l.sending.Unlock()
	l.out = append(l.out, frame...)
	l.add(0)
	if _, e := l.flush(); e != 0 {
		return e
	}
	return nil
}

// add makes what has come to out since start a frame.
func (l *link) add(start int) {
	frame := l.out[start:]
	l.frames = append(l.frames, syscall.Iovec{Base: unsafe.SliceData(frame), Len: uint64(len(frame))})
}

// flush sends the frames that there are and returns how many were sent.
func (l *link) flush() (sent int, e syscall.Errno) {
	for sent < len(l.frames) && e == 0 {
		var n int
		n, e = l.write(l.frames[sent:])
		sent += max(n, 0)
	}
	l.out, l.frames = l.out[:0], l.frames[:0]
	return sent, e
}

// Attach implements stack.LinkEndpoint, as the methods below do.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached says whether there is a dispatcher.
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// MTU is the most bytes of a packet.
func (l *link) MTU() uint32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mtuNow
}

// SetMTU makes packets smaller than the device would let them be.
func (l *link) SetMTU(mtu uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mtuNow = min(mtu, uint32(l.mtu))
}

// LinkAddress is the device's address.
func (l *link) LinkAddress() tcpip.LinkAddress { return tcpip.LinkAddress(l.mac[:]) }

// MaxHeaderLength is that of Ethernet's header.
func (*link) MaxHeaderLength() uint16 { return header.EthernetMinimumSize }

// SetLinkAddress does nothing: a device has the address that it has.
func (*link) SetLinkAddress(tcpip.LinkAddress) {}

// The only capability is that addresses have to be resolved.
func (*link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

// GSOMaxSize is the most that the stack may send as one packet, which it divides
// itself: the packets come to WritePackets together.
func (*link) GSOMaxSize() uint32 { return stack.GVisorGSOMaxSize }

// SupportedGSO says so.
func (*link) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// Wait has nothing to wait for.
func (*link) Wait() {}

// ARPHardwareType is Ethernet.
func (*link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }

// AddHeader adds Ethernet's.
func (*link) AddHeader(p *stack.PacketBuffer) {
	header.Ethernet(p.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: p.EgressRoute.LocalLinkAddress, DstAddr: p.EgressRoute.RemoteLinkAddress, Type: p.NetworkProtocolNumber,
	})
}

// ParseHeader finds it.
func (*link) ParseHeader(p *stack.PacketBuffer) bool {
	_, ok := p.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// Close is never called: the device stays.
func (*link) Close() {}

// SetOnCloseAction is for Close.
func (*link) SetOnCloseAction(func()) {}
