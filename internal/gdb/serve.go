package gdb

import (
	"net"
	"sync/atomic"
	"syscall"
)

// Control runs a guest, which is stopped before its first instruction, under the
// debuggers that connect to ln, one at a time, and returns how it ended. It waits
// for the first one, unless a signal comes on held meanwhile, which kills the
// guest; then it calls release, and signals go to the guest. It calls the target from the
// calling goroutine, except for Interrupt, and closes ln.
func Control(ln net.Listener, t Target, avx bool, stop Stop, held <-chan syscall.Signal, release func()) (Stop, error) {
	a := &acceptor{ln: ln, conns: make(chan net.Conn, 1), interrupt: t.Interrupt}
	defer ln.Close()
	go a.accept()
	var conn net.Conn
	select {
	case conn = <-a.conns:
	case sig := <-held:
		t.Kill()
		return Stop{Reason: Killed, Signal: int(sig)}, nil
	}
	release()
	for conn != nil {
		var out Outcome
		out, stop = Serve(conn, t, avx, stop)
		conn.Close()
		if out == Gone {
			return stop, nil
		}
		a.busy.Store(false)
		var err error
		if conn, stop, err = a.run(t, stop); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// run lets the guest run without a debugger until it ends or a debugger
// connects.
func (a *acceptor) run(t Target, stop Stop) (net.Conn, Stop, error) {
	a.running.Store(true)
	defer a.running.Store(false)
	for {
		select {
		case conn := <-a.conns:
			return conn, stop, nil
		default:
		}
		signal := 0
		switch stop.Reason {
		case Signaled:
			signal = stop.Signal
		case Exited, Killed:
			return nil, stop, nil
		}
		var err error
		if stop, err = t.Resume(false, signal); err != nil {
			return nil, stop, err
		}
	}
}

// Run lets a guest run to its end, with its signals and without a debugger.
func Run(t Target, stop Stop) (Stop, error) {
	_, stop, err := (&acceptor{}).run(t, stop)
	return stop, err
}

// acceptor takes connections, one at a time.
type acceptor struct {
	ln        net.Listener
	conns     chan net.Conn
	busy      atomic.Bool // one is there
	running   atomic.Bool // the guest may run
	interrupt func()      // stops the guest, which then looks for it
}

func (a *acceptor) accept() {
	for {
		conn, err := a.ln.Accept()
		if err != nil {
			return
		}
		if a.busy.Swap(true) {
			conn.Close()
			continue
		}
		a.conns <- conn
		if a.running.Load() {
			a.interrupt()
		}
	}
}
