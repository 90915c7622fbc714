package gdb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Outcome says how a debugger left a guest.
type Outcome uint8

// Outcomes.
const (
	Detached Outcome = iota // the guest goes on without it
	Lost                    // the connection ended without a word; the guest is stopped
	Gone                    // the guest has ended: see Stop
)

// session is one debugger's connection.
type session struct {
	target  Target
	link    *link
	layout  *layout
	stop    Stop
	points  *points
	pass    map[int]bool // signals that reach the guest without a stop (QPassSignals)
	ended   bool
	running atomic.Bool // the guest may run
	out     Outcome
}

// Serve serves the debugger at conn until it leaves or the guest ends. The
// guest is stopped, as stop says. It does not close conn. It leaves no
// breakpoint in the guest.
func Serve(conn io.ReadWriter, t Target, avx bool, stop Stop) (Outcome, Stop) {
	s := &session{target: t, layout: newLayout(avx), stop: stop, points: newPoints(t), pass: map[int]bool{}}
	s.link = newLink(conn, t.Interrupt, func() {
		if s.running.Load() { // it must stop for the end to be seen
			t.Interrupt()
		}
	})
	done := make(chan struct{})
	defer close(done)
	go s.link.read(done)
	for !s.ended {
		p, ok := <-s.link.packets
		if !ok {
			s.points.clear()
			return Lost, s.stop
		}
		s.handle(p)
	}
	if s.out != Gone {
		s.points.clear()
	}
	return s.out, s.stop
}

// Answers.
const (
	ok          = "OK"
	failed      = "E01"
	malformed   = "E16" // EINVAL
	unsupported = ""
)

// handle answers one packet.
func (s *session) handle(p []byte) {
	if len(p) == 0 {
		s.answer(unsupported)
		return
	}
	args := scanner{rest: p[1:]}
	switch p[0] {
	case '?':
		s.answer(s.stopReply())
	case 'g', 'G', 'p', 'P':
		s.answer(s.registers(p[0], &args))
	case 'm', 'M', 'X':
		s.answer(s.memory(p[0], &args))
	case 'z', 'Z':
		s.answer(s.point(p[0] == 'Z', &args))
	case 'c', 's', 'C', 'S':
		s.resume(p[0], &args)
	case 'v':
		s.verb(p[1:])
	case 'H', 'T':
		s.answer(ok) // there is one thread
	case 'q':
		s.query(p[1:])
	case 'Q':
		s.setting(p[1:])
	case 'D':
		s.leave(Detached)
		s.answer(ok)
	case 'k':
		s.kill()
	default:
		s.answer(unsupported)
	}
}

func (s *session) answer(a string) { s.link.send([]byte(a)) }

func (s *session) leave(o Outcome) { s.ended, s.out = true, o }

// kill ends the guest.
func (s *session) kill() {
	s.target.Kill()
	s.stop = Stop{Reason: Killed, Signal: int(unix.SIGKILL)}
	s.leave(Gone)
}

// verb handles the packets that begin with v.
func (s *session) verb(p []byte) {
	switch name, rest := cut(p, ";"); name {
	case "Cont?":
		s.answer("vCont;c;C;s;S")
	case "Cont":
		// The one thread takes the first action.
		action, _, _ := bytes.Cut(rest, []byte(";"))
		action, _, _ = bytes.Cut(action, []byte(":"))
		if len(action) == 0 {
			s.answer(malformed)
			return
		}
		s.resume(action[0], &scanner{rest: action[1:]})
	case "Kill":
		s.answer(ok)
		s.kill()
	default: // vMustReplyEmpty among them
		s.answer(unsupported)
	}
}

// query handles the packets that begin with q.
func (s *session) query(p []byte) {
	switch name, rest := cut(p, ":,"); name {
	case "Supported":
		s.answer(fmt.Sprintf("PacketSize=%x;QStartNoAckMode+;QPassSignals+;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+", maxPacket))
	case "Xfer":
		s.answer(s.transfer(rest))
	case "Attached":
		s.answer("1") // gdb that quits leaves the guest running
	case "C":
		s.answer("QC1")
	case "fThreadInfo":
		s.answer("m1")
	case "sThreadInfo":
		s.answer("l")
	case "Symbol":
		s.answer(ok)
	default:
		s.answer(unsupported)
	}
}

// transfer answers qXfer:features:read:target.xml:OFFSET,LENGTH.
func (s *session) transfer(p []byte) string {
	rest, found := bytes.CutPrefix(p, []byte("features:read:target.xml:"))
	if !found {
		return unsupported
	}
	args := scanner{rest: rest}
	offset := args.number()
	args.skip(',')
	n := args.number()
	if !args.end() {
		return malformed
	}
	xml := s.layout.xml()
	if offset >= uint64(len(xml)) {
		return "l"
	}
	xml = xml[offset:]
	if n = min(n, maxPacket/2); n < uint64(len(xml)) {
		return "m" + xml[:n]
	}
	return "l" + xml
}

// setting handles the packets that begin with Q.
func (s *session) setting(p []byte) {
	switch name, rest := cut(p, ":"); name {
	case "StartNoAckMode":
		s.answer(ok)
		s.link.stopAcks()
	case "PassSignals":
		pass := map[int]bool{}
		for field := range strings.SplitSeq(string(rest), ";") {
			args := scanner{rest: []byte(field)}
			n := args.number()
			if field == "" {
				continue
			}
			if !args.end() || n > 255 {
				s.answer(malformed)
				return
			}
			if signal, known := linuxSignal(byte(n)); known {
				pass[signal] = true
			}
		}
		s.pass = pass
		s.answer(ok)
	default:
		s.answer(unsupported)
	}
}

// registers answers g, G, p and P.
func (s *session) registers(verb byte, args *scanner) string {
	r, err := s.target.Registers()
	if err != nil {
		return failed
	}
	switch verb {
	case 'g':
		return hex.EncodeToString(s.layout.encode(r))
	case 'G':
		b := args.bytes()
		if args.bad || s.layout.decode(r, b) != nil {
			return malformed
		}
	default:
		n := args.number()
		if args.bad || n >= uint64(len(s.layout.registers)) {
			return malformed
		}
		reg := &s.layout.registers[n]
		b := make([]byte, reg.bytes)
		if verb == 'p' {
			if !args.end() {
				return malformed
			}
			reg.get(r, b)
			return hex.EncodeToString(b)
		}
		args.skip('=')
		if b = args.bytes(); args.bad || len(b) != reg.bytes {
			return malformed
		}
		reg.set(r, b)
	}
	if s.target.SetRegisters(r) != nil {
		return failed
	}
	return ok
}

// memory answers m, M and X.
func (s *session) memory(verb byte, args *scanner) string {
	addr := args.number()
	args.skip(',')
	n := args.number()
	if verb == 'm' {
		if !args.end() || n > maxPacket/2 {
			return malformed
		}
		b := make([]byte, n)
		got := s.points.read(addr, b)
		if got == 0 && n > 0 {
			return failed
		}
		return hex.EncodeToString(b[:got])
	}
	args.skip(':')
	b := args.rest
	if verb == 'M' {
		b = args.bytes()
	}
	if args.bad || uint64(len(b)) != n {
		return malformed
	}
	if s.points.write(addr, b) != nil {
		return failed
	}
	return ok
}

// point answers Z and z: TYPE,ADDR,KIND.
func (s *session) point(insert bool, args *scanner) string {
	kind := args.number()
	args.skip(',')
	addr := args.number()
	args.skip(',')
	size := args.number()
	if len(args.rest) > 0 && args.rest[0] == ';' || kind > 4 {
		return unsupported // conditions and commands are gdb's own to carry out
	}
	if !args.end() {
		return malformed
	}
	if err := s.points.change(insert, kind, addr, size); errors.Is(err, errors.ErrUnsupported) {
		return unsupported
	} else if err != nil {
		return failed
	}
	return ok
}

// resume lets the guest run: c, s, C and S.
func (s *session) resume(verb byte, args *scanner) {
	signal, step := 0, verb == 's' || verb == 'S'
	switch verb {
	case 'c', 's':
		if len(args.rest) > 0 { // from an address
			rip := args.number()
			r, err := s.target.Registers()
			if !args.end() || err != nil {
				s.answer(malformed)
				return
			}
			r.RIP = rip
			if s.target.SetRegisters(r) != nil {
				s.answer(failed)
				return
			}
		}
	case 'C', 'S':
		n := args.number()
		known := false
		if signal, known = linuxSignal(byte(n)); !args.end() || n > 255 || !known {
			s.answer(malformed)
			return
		}
	default:
		s.answer(unsupported)
		return
	}
	for {
		stop, err := s.run(step, signal)
		if err != nil {
			s.answer(failed)
			return
		}
		s.stop = stop
		if stop.Reason != Signaled || !s.pass[stop.Signal] {
			break
		}
		signal = stop.Signal
	}
	s.answer(s.stopReply())
	if s.stop.Gone() {
		s.leave(Gone)
	}
}

// run lets the guest run until it stops, step by step where that is how a point is
// found.
func (s *session) run(step bool, signal int) (Stop, error) {
	s.running.Store(true)
	defer s.running.Store(false)
	s.points.hit = ""
	if step || len(s.points.steps) == 0 {
		return s.target.Resume(step, signal)
	}
	for {
		stop, err := s.target.Resume(true, signal)
		if err != nil || stop.Reason != Stepped {
			return stop, err
		}
		if found, err := s.points.stepped(); found || err != nil {
			return Stop{Reason: Debugged}, err
		}
		signal = 0
	}
}

// stopReply tells why the guest is stopped.
func (s *session) stopReply() string {
	const thread = "thread:1;"
	trap := fmt.Sprintf("T%02x", gdbSignal(int(unix.SIGTRAP)))
	switch s.stop.Reason {
	case Exited:
		return fmt.Sprintf("W%02x", byte(s.stop.Code))
	case Killed:
		return fmt.Sprintf("X%02x", gdbSignal(s.stop.Signal))
	case Signaled:
		return fmt.Sprintf("T%02x", gdbSignal(s.stop.Signal)) + thread
	case Interrupted:
		return fmt.Sprintf("T%02x", gdbSignal(int(unix.SIGINT))) + thread
	case Trapped:
		if s.points.at(s.rip()) {
			return trap + "swbreak:;" + thread
		}
	case Debugged:
		return trap + s.points.matched(s.stop.Status) + thread
	}
	return trap + thread
}

func (s *session) rip() uint64 {
	r, err := s.target.Registers()
	if err != nil {
		return 0
	}
	return r.RIP
}
