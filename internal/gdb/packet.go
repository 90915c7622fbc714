package gdb

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxPacket is the longest packet that is taken, in bytes between its $ and its #.
const maxPacket = 16 << 10

// Bytes outside packets.
const (
	acknowledge = '+'
	again       = '-'
	breakIn     = 0x03 // ^C: stop the guest
)

var (
	errTooLong  = fmt.Errorf("a packet of more than %d bytes", maxPacket)
	errChecksum = errors.New("a packet whose checksum is wrong")
	errNoise    = errors.New("bytes that are no packet")
)

// link exchanges packets with a debugger.
type link struct {
	r       *bufio.Reader
	w       io.Writer
	mu      sync.Mutex // of w and what follows
	noAck   bool
	last    []byte // what was sent last, to be sent again when asked for
	packets chan []byte
	err     error  // why packets is closed
	onBreak func() // called for ^C
	onEnd   func() // called when the connection ends
}

func newLink(conn io.ReadWriter, onBreak, onEnd func()) *link {
	l := &link{r: bufio.NewReaderSize(conn, maxPacket+4), w: conn, packets: make(chan []byte), onBreak: onBreak, onEnd: onEnd}
	return l
}

// read passes packets on until the connection ends or done is closed.
func (l *link) read(done <-chan struct{}) {
	defer l.onEnd()
	defer close(l.packets)
	for {
		p, err := l.next()
		if err == errChecksum {
			if !l.acks() {
				l.err = err
				return
			}
			l.write([]byte{again})
			continue
		}
		if err != nil {
			l.err = err
			return
		}
		if l.acks() {
			l.write([]byte{acknowledge})
		}
		select {
		case l.packets <- p:
		case <-done:
			return
		}
	}
}

// maxNoise is how many bytes outside packets are passed over in a row: one
// acknowledgement or break for each packet is usual.
const maxNoise = 1024

// next returns the contents of the next packet, unescaped.
func (l *link) next() ([]byte, error) {
	for noise := 0; ; noise++ {
		c, err := l.r.ReadByte()
		if err != nil {
			return nil, err
		}
		switch c {
		case '$':
			return l.packet()
		case acknowledge:
		case again:
			l.repeat()
		case breakIn:
			l.onBreak()
		default:
			return nil, errNoise
		}
		if noise > maxNoise {
			return nil, errNoise
		}
	}
}

// packet reads the rest of a packet after its $.
func (l *link) packet() ([]byte, error) {
	var p []byte
	sum, escaped := byte(0), false
	for n := 0; ; n++ {
		c, err := l.r.ReadByte()
		if err != nil {
			return nil, err
		}
		if c == '#' && !escaped {
			break
		}
		if n >= maxPacket {
			return nil, errTooLong
		}
		sum += c
		switch {
		case escaped:
			p, escaped = append(p, c^0x20), false
		case c == '}':
			escaped = true
		case c == '$':
			return nil, errNoise
		default:
			p = append(p, c)
		}
	}
	want, ok := byte(0), true
	for range 2 {
		c, err := l.r.ReadByte()
		if err != nil {
			return nil, err
		}
		d, hex := hexDigit(c)
		want, ok = want<<4|d, ok && hex
	}
	if escaped || !ok || want != sum {
		return nil, errChecksum
	}
	return p, nil
}

func (l *link) acks() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.noAck
}

// stopAcks is called between the answer to QStartNoAckMode and the next packet.
func (l *link) stopAcks() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noAck = true
}

func (l *link) write(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Write(b) // if it fails, the next read does
}

// repeat sends the last packet once more.
func (l *link) repeat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.noAck {
		l.w.Write(l.last)
	}
}

// send sends a packet.
func (l *link) send(data []byte) {
	b, sum := []byte{'$'}, byte(0)
	for _, c := range data {
		if c == '#' || c == '$' || c == '}' || c == '*' {
			b = append(b, '}', c^0x20)
			sum += '}' + (c ^ 0x20)
			continue
		}
		b, sum = append(b, c), sum+c
	}
	b = fmt.Appendf(b, "#%02x", sum)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = b
	l.w.Write(b)
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
