// Package compare runs tenders next to each other on every kind of input, and
// says how each handled it.
package compare

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"gocat/internal/device"
	"gocat/internal/image"
)

// Source is a kind of input.
type Source struct {
	Name string `json:"name"`
	Help string `json:"help"`
	// Ends says that whoever reads it is told an end.
	Ends bool `json:"ends"`

	// again is what becomes of a cat on it that is never told the end.
	again Kind
	open  func() (*input, error)
}

// Sources returns the kinds of input, in the order of the report.
func Sources() []*Source {
	return []*Source{
		{"pipe", "a pipe with data, then closed", true, Spins, openPipe(bulkSize, true)},
		{"pipe-empty", "a pipe closed at once", true, Spins, openPipe(0, true)},
		{"pipe-slow", "a pipe with data in bursts, then closed", true, Spins, openSlowPipe},
		{"pipe-open", "a pipe with data whose writer stays", false, Waits, openPipe(bulkSize, false)},
		{"file", "a regular file", true, Spins, openFile},
		{"null", "/dev/null", true, Spins, openNull},
		{"tty", "a terminal: lines, then ^D", true, Hangs, openTTY},
		{"stream", "a Unix stream socket, then shut down", true, Spins, openStream},
		{"seqpacket", "a seqpacket socket, then shut down", true, Spins, openSeqpacket},
		{"dgram", "a datagram socket; it has no end", false, Waits, openDatagram(false)},
		{"dgram-empty", "a datagram socket, an empty one among them", false, Waits, openDatagram(true)},
		{"tap", "frames on a tap; it has no end", false, Waits, openTap},
	}
}

// documented is what the README says of a bundled cat of gocat's: how it ends,
// and whether an empty datagram is what it takes as the end.
func (s *Source) documented(target image.Target, eof device.EOF) (kind Kind, atEmpty bool) {
	switch {
	case eof == device.EOFAgain && target == image.SPT:
		return Refused, false
	case eof == device.EOFAgain:
		return s.again, false
	case s.Name == "dgram-empty" && (target == image.SPT || eof == device.EOFZero):
		return Ends, true
	case s.Ends:
		return Ends, false
	}
	return Waits, false
}

// Sizes in bytes.
const (
	// bulkSize is more than the capacity of a pipe, even of one that gocat has
	// enlarged, so that the writer is done only when most has been read.
	bulkSize = 1<<20 + 300001
	// pieceSize is that of a packet or burst. It fits into Solo5's MTU.
	pieceSize = 1400
	// pieces is how many there are: more than a datagram socket holds.
	pieces = 24
	// emptyAfter is how many of them precede the empty datagram.
	emptyAfter = 8
)

// data returns bytes among which every altered or lost one shows.
func data(size int) []byte {
	b := make([]byte, size)
	random := rand.NewChaCha8([32]byte{'g', 'o', 'c', 'a', 't'})
	random.Read(b)
	return b
}

// lines returns text for a terminal, which keeps at most 4095 bytes for its
// reader.
func lines() []byte {
	var b bytes.Buffer
	for n := range 40 {
		fmt.Fprintf(&b, "line %02d of what somebody types at a terminal; a lost one shows\n", n)
	}
	return b.Bytes()
}

// find returns the sources of the given names, all if there are none.
func find(names []string) ([]*Source, error) {
	all := Sources()
	if len(names) == 0 {
		return all, nil
	}
	byName := map[string]bool{}
	for _, name := range names {
		byName[name] = true
	}
	var found []*Source
	known := ""
	for _, s := range all {
		known += ", " + s.Name
		if byName[s.Name] {
			found = append(found, s)
			delete(byName, s.Name)
		}
	}
	for _, name := range names {
		if byName[name] {
			return nil, fmt.Errorf("--source: there is no %q; want one of %s", name, known[2:])
		}
	}
	return found, nil
}

// CheckSources fails if a name is not that of a source.
func CheckSources(names []string) error {
	_, err := find(names)
	return err
}
