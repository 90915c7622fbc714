package gateway

import "time"

// take begins to take connections and datagrams from outside.
func (p *port) take() {
	for i := range p.listens {
		l := &p.listens[i]
		l.setDeadline(time.Time{})
		p.taking.Go(func() {
			if l.TCP != nil {
				p.acceptTCP(l, l.Guest)
			} else {
				p.readUDP(l.UDP, l.Guest)
			}
		})
	}
}

// pause stops that. What comes then stays in the sockets.
func (p *port) pause() {
	for _, l := range p.listens {
		l.setDeadline(time.Now())
	}
	p.taking.Wait()
}

func (l *Listen) setDeadline(t time.Time) {
	if l.TCP != nil {
		l.TCP.SetDeadline(t)
		l.file.SetDeadline(t)
	} else {
		l.UDP.SetReadDeadline(t)
	}
}

// rest waits until nothing was in use for the time that the guest may be idle, and says
// so. By then no more connections are taken, so none is lost by the guest's end: who
// holds the listening sockets too has those that come.
func (p *port) rest() {
	for wait := p.idle; ; {
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(wait):
		}
		if wait = p.restsIn(); wait > 0 {
			continue
		}
		p.pause()
		if wait = p.restsIn(); wait <= 0 {
			p.onIdle()
			return
		}
		p.take()
	}
}

// restsIn is how long it takes at least until nothing was in use for long enough; 0 or
// less says that this is so.
func (p *port) restsIn() time.Duration {
	p.conns.Lock()
	open := p.conns.n
	p.conns.Unlock()
	if open > 0 {
		return max(p.idle/4, time.Millisecond)
	}
	return p.idle - (time.Since(p.born) - time.Duration(p.used.Load()))
}

// use notes that something is in use: a connection until it ends, a flow or a query
// with each datagram.
func (p *port) use() { p.used.Store(int64(time.Since(p.born))) }
