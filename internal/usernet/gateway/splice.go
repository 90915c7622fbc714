package gateway

import (
	"bytes"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// conn is a connection with a guest, which ends in the stack.
type conn struct {
	ep tcpip.Endpoint
	wq *waiter.Queue
}

// buffers are what data passes through. A connection has none while it is idle.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// largeBuffers are for what goes to the guest by connections that may be fast.
var largeBuffers = sync.Pool{New: func() any { b := make([]byte, 4*bufferSize); return &b }}

// bufferSize holds the longest packet.
const bufferSize = 64 << 10

// splice joins a connection of the host's with one of the guest's.
type splice struct {
	*conn
	host    *net.TCPConn
	gone    <-chan struct{}
	segment int        // bytes that a full segment to the guest carries
	pool    *sync.Pool // of buffers for them
}

// splice passes data both ways until both ends have ended, and closes both.
func (p *port) splice(host *net.TCPConn, c *conn) {
	s := &splice{conn: c, host: host, gone: p.conns.gone, segment: p.segment(c), pool: &buffers}
	p.conns.Lock()
	size := connectionBuffer(p.conns.n)
	p.conns.splices[s] = struct{}{}
	p.conns.Unlock()
	select {
	case <-p.conns.gone:
		s.drain()
	default:
	}
	if size >= 4*bufferSize {
		s.pool = &largeBuffers
	}
	send := size
	if send > s.segment {
		send -= size % s.segment // where it is full, it ends with a full segment
	}
	c.ep.SocketOptions().SetSendBufferSize(int64(send), true)
	c.ep.SocketOptions().SetReceiveBufferSize(int64(size), true)
	c.ep.SocketOptions().SetDelayOption(false)
	timeout := tcpip.TCPUserTimeoutOption(unacked)
	c.ep.SetSockOpt(&timeout)

	var both sync.WaitGroup
	both.Go(s.in)
	s.out()
	both.Wait()
	p.conns.Lock()
	delete(p.conns.splices, s)
	p.conns.Unlock()
	host.Close()
	s.close()
}

// segment is how many bytes a full segment to the guest carries.
func (p *port) segment(c *conn) int {
	headers := header.IPv4MinimumSize
	if a, err := c.ep.GetRemoteAddress(); err == nil && a.Addr.Len() == header.IPv6AddressSize {
		headers = header.IPv6MinimumSize
	}
	const timestamps = 12 // bytes of the option in each segment (RFC 7323)
	return p.network.opt.MTU - headers - header.TCPMinimumSize - timestamps
}

// drain has the splice end as soon as what the guest sent is passed on.
func (s *splice) drain() {
	s.host.SetReadDeadline(time.Now())
	s.host.SetWriteDeadline(time.Now().Add(drainTime))
}

// out passes on what the guest sends.
func (s *splice) out() {
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventErr | waiter.EventHUp)
	s.wq.EventRegister(&entry)
	defer s.wq.EventUnregister(&entry)
	for {
		b := buffers.Get().(*[]byte)
		w := tcpip.SliceWriter(*b)
		r, err := s.ep.Read(&w, tcpip.ReadOptions{})
		if err == nil {
			_, werr := s.host.Write((*b)[:r.Count])
			buffers.Put(b)
			if werr != nil {
				s.ep.Abort()
				return
			}
			continue
		}
		buffers.Put(b)
		switch err.(type) {
		case *tcpip.ErrWouldBlock:
			select {
			case <-ready:
				continue
			default:
			}
			select {
			case <-ready:
			case <-s.gone:
				reset(s.host)
				s.ep.Abort()
				return
			}
		case *tcpip.ErrClosedForReceive:
			s.host.CloseWrite()
			return
		default:
			reset(s.host)
			return
		}
	}
}

// in passes on what is sent to the guest.
func (s *splice) in() {
	entry, ready := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	s.wq.EventRegister(&entry)
	defer s.wq.EventUnregister(&entry)
	raw, err := s.host.SyscallConn()
	if err != nil {
		s.ep.Abort()
		return
	}
	for {
		b, n, err := readWhenReady(raw, s.pool)
		if err == nil && n == 0 {
			s.ep.Shutdown(tcpip.ShutdownWrite)
			return
		}
		passed := true
		if err == nil {
			passed, err = s.passAll(raw, *b, n, ready)
			s.pool.Put(b)
		}
		switch {
		case !passed:
			// Nobody reads any more what comes: the other side must know, soon also if
			// it takes nothing of what the guest has sent.
			s.host.SetWriteDeadline(time.Now().Add(lingerTime))
			return
		case err != nil:
			// An error of the connection, not its end: the guest must see one too.
			select {
			case <-s.gone:
			default:
				s.ep.Abort()
			}
			return
		}
	}
}

// passAll passes on the first n bytes of b, and what comes meanwhile. A short segment
// costs as much as a full one, so one is sent only when there is nothing to fill it
// with. It reports false if the guest takes no more; the error is of the other side.
func (s *splice) passAll(raw syscall.RawConn, b []byte, n int, ready <-chan struct{}) (passed bool, err error) {
	for n > 0 {
		whole := n - n%s.segment
		if !s.pass(b[:whole], ready) {
			return false, nil
		}
		rest, more := copy(b, b[whole:n]), 0
		if control := raw.Control(func(fd uintptr) { more, err = readNow(fd, b[rest:]) }); control != nil {
			err = control
		}
		if more == 0 { // an end is seen again by the next read, an error is not
			if err == unix.EAGAIN {
				err = nil
			}
			return s.pass(b[:rest], ready), err
		}
		n = rest + more
	}
	return true, nil
}

// pass writes to the guest, waiting while it takes nothing. It reports false if the
// guest will take no more.
func (s *splice) pass(b []byte, ready <-chan struct{}) bool {
	for r := bytes.NewReader(b); r.Len() > 0; {
		_, err := s.ep.Write(r, tcpip.WriteOptions{})
		if err == nil {
			continue
		}
		if _, full := err.(*tcpip.ErrWouldBlock); !full {
			return false
		}
		select {
		case <-ready:
		case <-s.gone:
			return false
		}
	}
	return true
}

// readWhenReady reads into a buffer of the pool that it takes only when there is
// something to read. The buffer is the caller's unless n is 0 or there is an error.
func readWhenReady(raw syscall.RawConn, pool *sync.Pool) (b *[]byte, n int, err error) {
	waitErr := raw.Read(func(fd uintptr) bool {
		b = pool.Get().(*[]byte)
		n, err = readNow(fd, *b)
		if err != nil || n == 0 {
			pool.Put(b)
			b = nil
		}
		return err != unix.EAGAIN
	})
	if err == nil || err == unix.EAGAIN {
		err = waitErr
	}
	return b, n, err
}

// close closes the guest's side, and waits until the stack has nothing left of
// the connection: what counts connections counts this one until then.
func (s *splice) close() {
	entry, closed := waiter.NewChannelEntry(waiter.EventHUp)
	s.wq.EventRegister(&entry)
	defer s.wq.EventUnregister(&entry)
	s.ep.Close()
	wait := time.NewTimer(lingerTime)
	defer wait.Stop()
	for {
		if state := tcp.EndpointState(s.ep.State()); state == tcp.StateClose || state == tcp.StateError {
			return
		}
		select {
		case <-closed:
		case <-wait.C:
			s.ep.Abort()
			return
		case <-s.gone:
			s.ep.Abort()
			return
		}
	}
}
