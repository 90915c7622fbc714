package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/kvmhvt"
)

// FuzzRecords reads any records, as a guest that has taken over its tender could
// write them. What is printed stays lines of printable text, or of JSON.
func FuzzRecords(f *testing.F) {
	record := func(words ...uint64) []byte {
		b := make([]byte, kvmhvt.RecordSize)
		for i, w := range words {
			binary.LittleEndian.PutUint64(b[8*i:], w)
		}
		return b
	}
	const done, ring, ended = uint64(kvmhvt.RecordDone), 1 << 16, 1 << 17
	for call := range uint64(10) {
		f.Add(bytes.Join([][]byte{
			record(uint64(kvmhvt.RecordStarted)),
			record(uint64(kvmhvt.RecordBegan)|call<<8, 1e9, 0, image.MinAddr, 1, 512, 64, 1e9),
			record(done|call<<8|call<<32, 1e9, 1e6, image.MinAddr, call, 512, 64, 1e9, 64, ^uint64(0)),
			record(done|call<<8, 0, 0, 0, 3, 0, 0, 0, 0, 0), // the first handle that there is not
		}, nil))
	}
	f.Add(record(^uint64(0), 1<<63, 1<<63, ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)))
	f.Add(append(record(done|7<<8|ring, 1<<62, 1<<62, 0, 1, 0, 1, 0, 1<<63), record(done|7<<8|ended|9<<32)...))
	f.Add(make([]byte, kvmhvt.RecordSize-1))
	cat, err := guests.Cat(image.HVT, guests.Advanced)
	if err != nil {
		f.Fatal(err)
	}
	m := image.Manifest{{Type: image.Reserved}, {Name: "stdin", Type: image.Net}, {Name: "disk", Type: image.Block}}
	f.Fuzz(func(t *testing.T, b []byte) {
		records := len(b) / kvmhvt.RecordSize
		for _, o := range []Options{{}, {JSON: true}, {Summary: true}, {Summary: true, JSON: true}} {
			h := &hvtSource{supervisor: &supervisor{events: make(chan Event, records+1)}, manifest: m, symbols: symbols{file: bytes.NewReader(cat)}}
			err := h.read(pieces{bytes.NewReader(b)})
			if (err != nil) != (len(b)%kvmhvt.RecordSize != 0) {
				t.Errorf("%d bytes: %v", len(b), err)
			}
			if len(h.events) != records {
				t.Errorf("%d events of %d records", len(h.events), records)
			}
			close(h.events)
			var out bytes.Buffer
			p := newPrinter(&out, o)
			for e := range h.events {
				p.event(&e)
			}
			p.begin()
			p.event(&Event{Kind: Ended, Result: "status 0"})
			p.w.Flush()
			if p.err != nil {
				t.Errorf("%+v: %v", o, p.err)
			}
			if s := out.String(); s != "" && !strings.HasSuffix(s, "\n") {
				t.Errorf("%+v ends in %q", o, s[max(0, len(s)-80):])
			}
			for line := range strings.Lines(out.String()) {
				var object map[string]any
				if o.JSON && json.Unmarshal([]byte(line), &object) != nil {
					t.Errorf("no JSON: %q", line)
				}
				if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return (r < ' ' || r > '~') && r != 'µ' }) {
					t.Errorf("%+v prints %q", o, line)
				}
			}
		}
	})
}

// pieces reads a few bytes at once, so that records arrive in pieces.
type pieces struct{ r io.Reader }

func (i pieces) Read(b []byte) (int, error) { return i.r.Read(b[:min(len(b), 37)]) }
