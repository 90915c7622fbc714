package gateway

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"gocat/internal/usernet"
)

// port is where a guest is plugged in.
type port struct {
	network  *Network
	name     string
	mac      [6]byte
	assigned netip.Addr // IPv4, by DHCP and for those who know it
	outbound usernet.Outbound
	listens  []Listen
	idle     time.Duration // after which onIdle is called; 0 for never
	onIdle   func()
	born     time.Time

	ctx    context.Context // ends with the guest
	cancel context.CancelFunc
	done   chan struct{}
	work   sync.WaitGroup // all that runs for the guest, but
	taking sync.WaitGroup // what takes connections and datagrams from outside
	used   atomic.Int64   // when something was last seen to be in use, in ns after born
	heard  atomic.Bool    // the guest has accepted a connection
	held   held           // addresses
	conns  connections
	flows  flows
	pings  pings
	asking limit // DNS queries

	file  *os.File
	raw   syscall.RawConn
	queue struct {
		sync.Mutex
		packets []*stack.PacketBuffer
		bytes   int
		closed  bool
	}
	dropped atomic.Uint64 // frames that the guest might not send, or did not take
}

func (p *port) init() {
	p.asking = newLimit(maxQueries)
	p.flows.init(p)
	p.conns.init()
}

// run serves the guest until it has gone, and then what it left.
func (p *port) run() {
	p.take()
	if p.idle > 0 {
		p.work.Go(p.rest)
	}
	p.read()
	p.cancel()
	for _, l := range p.listens {
		l.close()
	}
	p.conns.drain()
	p.flows.closeAll()
	p.pings.closeAll()
	p.closeQueue()
	p.work.Wait()
	p.taking.Wait()
	p.network.leave(p)
	p.file.Close()
	close(p.done)
}

func (l *Listen) close() {
	if l.TCP != nil {
		l.TCP.Close()
	}
	if l.file != nil {
		l.file.Close()
	}
	if l.UDP != nil {
		l.UDP.Close()
	}
}

// CloseListens closes the published ports of a guest that does not join after all.
func (g *Guest) CloseListens() {
	for _, l := range g.Listens {
		l.close()
	}
}

// read takes the guest's frames until it has gone.
func (p *port) read() {
	longest := p.network.opt.MTU + header.EthernetMinimumSize
	buf := make([]byte, longest+1) // one more shows a frame that is too long
	for {
		n, end := 0, false
		err := p.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = readNow(fd, buf)
			end = err != nil && err != unix.EAGAIN || n == 0 && err == nil && hungUp(int(fd))
			return err != unix.EAGAIN
		})
		if err != nil || end {
			return
		}
		if n > longest || !p.input(buf[:n]) {
			p.dropped.Add(1)
		}
	}
}

// hungUp tells the end from an empty packet, which a guest may send: both read as
// 0 bytes.
func hungUp(fd int) bool {
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(poll, 0)
	return err == nil && n > 0 && poll[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// send gives the guest a frame from the gateway, immediately or when it has read
// those before. It never waits: frames beyond maxQueue are lost, as on a wire.
func (p *port) send(pkt *stack.PacketBuffer) { p.enqueue(pkt, maxQueue) }

// enqueue is send for frames that may fill the queue up to most bytes.
func (p *port) enqueue(pkt *stack.PacketBuffer, most int) {
	q := &p.queue
	q.Lock()
	defer q.Unlock()
	if q.closed {
		return
	}
	if len(q.packets) == 0 && p.write(pkt) != unix.EAGAIN {
		return
	}
	if q.bytes+pkt.MemSize() > most {
		p.dropped.Add(1)
		return
	}
	q.bytes += pkt.MemSize()
	q.packets = append(q.packets, pkt.IncRef())
	if len(q.packets) == 1 {
		p.work.Go(p.flush)
	}
}

// write writes a frame. An error that is not EAGAIN is the guest's end, which
// reading shows too.
func (p *port) write(pkt *stack.PacketBuffer) (err error) {
	slices := pkt.AsSlices()
	if control := p.raw.Control(func(fd uintptr) {
		_, err = writevNow(fd, slices)
	}); control != nil {
		return control
	}
	return err
}

// flush writes what waits, and ends when nothing does.
func (p *port) flush() {
	q := &p.queue
	p.raw.Write(func(uintptr) (done bool) {
		q.Lock()
		defer q.Unlock()
		for len(q.packets) > 0 && !q.closed {
			pkt := q.packets[0]
			if p.write(pkt) == unix.EAGAIN {
				return false
			}
			q.packets[0] = nil
			q.packets = q.packets[1:]
			q.bytes -= pkt.MemSize()
			pkt.DecRef()
		}
		q.packets = nil
		return true
	})
}

// closeQueue drops what waits for a guest that has gone.
func (p *port) closeQueue() {
	q := &p.queue
	q.Lock()
	defer q.Unlock()
	q.closed = true
	for _, pkt := range q.packets {
		pkt.DecRef()
	}
	q.packets, q.bytes = nil, 0
	p.file.SetWriteDeadline(time.Now())
}

// limit is a number of things that may go on at the same time.
type limit chan struct{}

func newLimit(n int) limit { return make(limit, n) }

// start reports whether one more may begin; if so, end must follow.
func (l limit) start() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l limit) end() { <-l }
