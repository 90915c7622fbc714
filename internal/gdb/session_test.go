package gdb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/x86"
)

// fakeGuest is a Target of plain memory, which stops as it is told to.
type fakeGuest struct {
	regs   x86.Registers
	memory []byte // from address base
	debug  DebugRegisters
	stops  []Stop
	runs   []string // what Resume was called with
	killed bool
}

const base = 0x100000

func (f *fakeGuest) Registers() (*x86.Registers, error)  { r := f.regs; return &r, nil }
func (f *fakeGuest) SetRegisters(r *x86.Registers) error { f.regs = *r; return nil }
func (f *fakeGuest) SetDebug(d DebugRegisters) error     { f.debug = d; return nil }
func (f *fakeGuest) Interrupt()                          {}
func (f *fakeGuest) Kill()                               { f.killed = true }
func (f *fakeGuest) ReadMemory(addr uint64, b []byte) int {
	if addr < base || addr-base >= uint64(len(f.memory)) {
		return 0
	}
	return copy(b, f.memory[addr-base:])
}

func (f *fakeGuest) WriteMemory(addr uint64, b []byte) error {
	if addr < base || addr-base > uint64(len(f.memory)) || uint64(len(b)) > uint64(len(f.memory))-(addr-base) {
		return errors.New("not mapped")
	}
	copy(f.memory[addr-base:], b)
	return nil
}

func (f *fakeGuest) Resume(step bool, signal int) (Stop, error) {
	f.runs = append(f.runs, fmt.Sprint(step, signal))
	if len(f.stops) == 0 {
		return Stop{Reason: Exited}, nil
	}
	s := f.stops[0]
	f.stops = f.stops[1:]
	return s, nil
}

// frame returns a packet with its checksum.
func frame(data string) string {
	sum := byte(0)
	for _, c := range []byte(data) {
		sum += c
	}
	return fmt.Sprintf("$%s#%02x", data, sum)
}

// client is the debugger's side of a session, without acknowledgements.
type client struct {
	t    *testing.T
	conn net.Conn
	out  chan Outcome
}

func connect(t *testing.T, f *fakeGuest, stop Stop) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	c := &client{t, ours, make(chan Outcome, 1)}
	go func() {
		out, _ := Serve(theirs, f, true, stop)
		c.out <- out
		theirs.Close()
	}()
	t.Cleanup(func() { ours.Close() })
	c.send("QStartNoAckMode")
	if got := c.read(1); got != "+" {
		t.Fatalf("acknowledged with %q", got)
	}
	c.want("OK")
	return c
}

func (c *client) send(data string) { io.WriteString(c.conn, frame(data)) }

func (c *client) read(n int) string {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// answer returns the contents of the next packet.
func (c *client) answer() string {
	c.t.Helper()
	if got := c.read(1); got != "$" {
		c.t.Fatalf("a packet begins with %q", got)
	}
	var s strings.Builder
	for {
		b := c.read(1)
		if b == "#" {
			c.read(2)
			return s.String()
		}
		s.WriteString(b)
	}
}

func (c *client) want(want string) {
	c.t.Helper()
	if got := c.answer(); got != want {
		c.t.Errorf("answered %q, want %q", got, want)
	}
}

func (c *client) ask(data, want string) {
	c.t.Helper()
	c.send(data)
	if got := c.answer(); got != want {
		c.t.Errorf("%q is answered %q, want %q", data, got, want)
	}
}

func newGuest() *fakeGuest {
	f := &fakeGuest{memory: make([]byte, 4096)}
	for i := range f.memory {
		f.memory[i] = byte(i)
	}
	f.regs.RIP, f.regs.Flags, f.regs.General[x86.RSP] = base, 0x202, base+4096
	return f
}

func TestPackets(t *testing.T) {
	f := newGuest()
	c := connect(t, f, Stop{Reason: Stepped})
	for _, x := range [][2]string{
		{"?", "T05thread:1;"},
		{"Hg0", "OK"}, {"qC", "QC1"}, {"qAttached", "1"}, {"qfThreadInfo", "m1"}, {"qsThreadInfo", "l"},
		{"vMustReplyEmpty", ""}, {"vCont?", "vCont;c;C;s;S"}, {"qOffsets", ""}, {"_nonsense", ""},
		{"m100000,4", "00010203"},
		{"m100ffe,10", "feff"}, // as far as it goes
		{"m200000,1", "E01"},
		{"mfffffffffffffffff,1", "E16"},
		{"m100000", "E16"}, {"m100000,", "E16"}, {"m100000,ffffffff", "E16"},
		{"M100010,2:abcd", "OK"}, {"m100010,2", "abcd"},
		{"M100010,3:abcd", "E16"}, {"M100010,2:abc", "E16"}, {"M200000,1:00", "E01"},
		{"X100020,2:\x01\x02", "OK"}, {"m100020,2", "0102"},
		{"p10", "0000100000000000"}, {"P10=2000100000000000", "OK"}, {"p10", "2000100000000000"},
		{"P10=20", "E16"}, {"pffff", "E16"}, {"p", "E16"},
		{"G00", "E16"}, {"Z5,100000,1", ""}, {"Z3,100000,1", ""}, {"Z0,100000", "E16"}, {"Z0,900000,1", "E01"},
		{"Z2,100001,2", "E01"}, {"Z2,100000,3", "E01"},
		{"QPassSignals:e;1b", "OK"}, {"QPassSignals:zz", "E16"},
		{"C", "E16"}, {"Cff", "E16"}, {"c12345678901234567890", "E16"}, {"vCont;r1,2:1", ""}, {"vCont;", "E16"}, {"vCont;:1", "E16"}, {"vCont;;c", "E16"}, {"vCont", "E16"},
	} {
		c.ask(x[0], x[1])
	}
	if f.regs.RIP != base+0x20 {
		t.Errorf("RIP is %#x", f.regs.RIP)
	}
	if len(f.runs) > 0 {
		t.Errorf("the guest ran: %v", f.runs)
	}
}

// TestAllRegisters reads all registers, writes them back, and has each at its
// place in the description.
func TestAllRegisters(t *testing.T) {
	f := newGuest()
	for i := range f.regs.General {
		f.regs.General[i] = 0x0101010101010101 * uint64(i)
	}
	for i := range f.regs.Extended {
		f.regs.Extended[i] = byte(i * 7)
	}
	f.regs.Extended[4] = 0xff // no register of the FPU is empty
	f.regs.CS, f.regs.FSBase = 0x33, 0x123456789
	want := f.regs
	c := connect(t, f, Stop{})
	c.send("g")
	all := c.answer()
	f.regs = x86.Registers{Extended: f.regs.Extended}
	c.ask("G"+all, "OK")
	want.Extended, f.regs.Extended = x86.Extended{}, x86.Extended{}
	if f.regs != want {
		t.Errorf("got  %+v\nwant %+v", f.regs, want)
	}
	l := newLayout(true)
	n, at := 0, 0
	for _, r := range l.registers {
		c.send(fmt.Sprintf("p%x", n))
		if got := c.answer(); n < 24 && got != all[2*at:2*(at+r.bytes)] {
			t.Errorf("register %d, %s, is %s, and %s among all", n, r.name, got, all[2*at:2*(at+r.bytes)])
		}
		n, at = n+1, at+r.bytes
	}
	if len(all) != 2*at {
		t.Errorf("%d bytes of registers, described are %d", len(all)/2, at)
	}
}

func TestDescription(t *testing.T) {
	c := connect(t, newGuest(), Stop{})
	var xml strings.Builder
	for offset := 0; ; {
		c.send(fmt.Sprintf("qXfer:features:read:target.xml:%x,3e8", offset))
		a := c.answer()
		xml.WriteString(a[1:])
		offset += len(a) - 1
		if a[0] == 'l' {
			break
		}
	}
	if want := newLayout(true).xml(); xml.String() != want {
		t.Errorf("got %d bytes, want %d", xml.Len(), len(want))
	}
}

// TestBreakpoints sets breakpoints, which stay out of the debugger's sight, and
// are gone when it leaves.
func TestBreakpoints(t *testing.T) {
	for _, leave := range []string{"D", ""} {
		f := newGuest()
		before := bytes.Clone(f.memory)
		f.stops = []Stop{
			{Reason: Trapped}, {Reason: Debugged, Status: 1}, {Reason: Debugged, Status: 2},
			{Reason: Signaled, Signal: int(unix.SIGPROF)}, {Reason: Signaled, Signal: int(unix.SIGSEGV)}, {Reason: Interrupted},
		}
		c := connect(t, f, Stop{Reason: Stepped})
		c.ask("Z0,100000,1", "OK")
		c.ask("Z0,100000,1", "OK")
		c.ask("Z0,100002,1", "OK")
		c.ask("Z2,100008,8", "OK")
		c.ask("Z4,100010,4", "OK")
		if f.memory[0] != int3 || f.memory[2] != int3 {
			t.Error("no breakpoint in memory")
		}
		c.ask("m100000,4", "00010203")
		c.ask("M100001,2:aabb", "OK")
		c.ask("m100000,4", "00aabb03")
		if f.memory[2] != int3 {
			t.Error("writing removed a breakpoint")
		}
		c.ask("z0,100002,1", "OK")
		if f.memory[2] != 0xbb {
			t.Errorf("%#x came back", f.memory[2])
		}
		c.ask("QPassSignals:1b", "OK")
		c.ask("c", "T05swbreak:;thread:1;")
		c.ask("vCont;c", "T05watch:100008;thread:1;")
		c.ask("s", "T05awatch:100010;thread:1;")
		c.ask("C0b", "T0bthread:1;") // SIGPROF passes unseen
		c.ask("vCont;S0c:1", "T02thread:1;")
		if got, want := fmt.Sprint(f.runs), "[false 0 false 0 true 0 false 11 false 27 true 31]"; got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
		want := Detached
		if leave != "" {
			c.ask(leave, "OK")
		} else {
			want = Lost
			c.conn.Close()
		}
		if out := <-c.out; out != want {
			t.Errorf("left with %v, want %v", out, want)
		}
		before[1], before[2] = 0xaa, 0xbb
		if !bytes.Equal(f.memory, before) || f.debug != (DebugRegisters{}) {
			t.Error("a breakpoint stayed")
		}
	}
}

func TestEnds(t *testing.T) {
	f := newGuest()
	f.stops = []Stop{{Reason: Exited, Code: 7}}
	c := connect(t, f, Stop{})
	c.ask("c", "W07")
	if out := <-c.out; out != Gone {
		t.Error(out)
	}
	f = newGuest()
	f.stops = []Stop{{Reason: Killed, Signal: int(unix.SIGSYS)}}
	c = connect(t, f, Stop{})
	c.ask("c", "X0c")
	f = newGuest()
	c = connect(t, f, Stop{})
	c.ask("vKill;1", "OK")
	if out := <-c.out; out != Gone || !f.killed {
		t.Error(out, f.killed)
	}
}

func TestSignals(t *testing.T) {
	for s := 1; s <= 64; s++ {
		g := gdbSignal(s)
		if back, ok := linuxSignal(g); g != unknownSignal && (!ok || back != s) {
			t.Errorf("signal %d is %d and then %d", s, g, back)
		}
	}
}

// FuzzSession feeds a session anything. It may not crash, and what it writes are
// packets.
func FuzzSession(f *testing.F) {
	for _, p := range []string{"?", "g", "m100000,10", "M100000,2:0102", "X100000,1:}\x03", "Z0,100000,1", "Z2,100008,8", "vCont;c", "s",
		"qSupported:multiprocess+", "qXfer:features:read:target.xml:0,fff", "QStartNoAckMode", "QPassSignals:1;2", "p10", "P10=00", "D", "k", "C0b;100000"} {
		f.Add([]byte(frame(p) + "+" + frame("?")))
	}
	f.Add([]byte("$#00\x03-+$m0,1#00"))
	f.Fuzz(func(t *testing.T, input []byte) {
		guest := newGuest()
		var out bytes.Buffer
		Serve(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(input), &out}, guest, true, Stop{})
		for b := out.Bytes(); len(b) > 0; {
			if b[0] == '+' || b[0] == '-' {
				b = b[1:]
				continue
			}
			end := bytes.IndexByte(b, '#')
			if b[0] != '$' || end < 0 || len(b) < end+3 {
				t.Fatalf("wrote %q", b)
			}
			sum := byte(0)
			for _, c := range b[1:end] {
				sum += c
			}
			if want, err := hex.DecodeString(string(b[end+1 : end+3])); err != nil || want[0] != sum {
				t.Fatalf("wrote %q with the checksum %x", b[:end+3], sum)
			}
			b = b[end+3:]
		}
	})
}

// FuzzPackets feeds a session whole packets, which NULs separate, so that it goes on
// for long. What it has done to the guest's code is undone at the end, unless the
// debugger wrote there itself.
func FuzzPackets(f *testing.F) {
	for _, p := range []string{
		"Z0,100000,1\x00Z0,100002,1\x00m100000,10\x00c\x00vCont;s:1\x00z0,100000,1\x00D",
		"Z2,100008,8\x00Z3,100008,8\x00Z4,100010,4\x00Z1,100001,1\x00c\x00s\x00z2,100008,8\x00?",
		"qSupported:xmlRegisters=i386\x00QPassSignals:e;1b\x00C0b\x00vCont;C0b:1;c\x00g\x00p10\x00P10=0000100000000000\x00k",
		"vCont;:0",
		"X100000,2:ab\x00M100004,2:0102\x00Z0,100000,1\x00X100000,2:cd\x00m100000,4\x00z0,100000,1\x00vKill;1",
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var in, out bytes.Buffer
		writes := false
		for p := range bytes.SplitSeq(input, []byte{0}) {
			writes = writes || len(p) > 0 && (p[0] == 'M' || p[0] == 'X')
			l := &link{w: &in}
			l.send(p)
		}
		guest := newGuest()
		guest.stops = []Stop{{Reason: Trapped}, {Reason: Debugged, Status: 1}, {Reason: Signaled, Signal: 11}, {Reason: Stepped}, {Reason: Interrupted}}
		before := bytes.Clone(guest.memory)
		Serve(struct {
			io.Reader
			io.Writer
		}{&in, &out}, guest, true, Stop{})
		if ended := guest.killed || len(guest.runs) > 5; !writes && !ended && !bytes.Equal(guest.memory, before) {
			t.Error("a breakpoint stayed in the guest's code")
		}
	})
}
