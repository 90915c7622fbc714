package tender

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/version"
)

// Fact is one line of a sealed guest's description.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// describe is a sealed guest's description: a fact a line, its value quoted.
func (g *Guest) describe(set *device.Set) []byte {
	var b strings.Builder
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%s %s\n", name, strconv.Quote(fmt.Sprintf(format, args...)))
	}
	fact("sealed-by", "gocat %s", version.Get().Version)
	if g.Kernel == "" {
		fact("unikernel", "the bundled cat")
	} else {
		fact("unikernel", "%s", base(g.Kernel))
	}
	fact("process", "%s", g.process())
	fact("memory", "%d MB", g.Memory>>20)
	fact("arguments", "%s", g.CommandLine())
	for _, d := range set.Devices {
		behind := d.Path
		switch {
		case d.Type == image.Block:
			fact("block", "%s=%s, %d bytes in blocks of %d", d.Name, d.Path, d.Capacity, d.BlockSize)
			continue
		case d.Inherited:
			behind = fmt.Sprintf("@%d", d.FD)
		case d.User != nil:
			behind = d.User.Spec
		}
		fact("net", "%s=%s, mac %s, mtu %d", d.Name, behind, macText(d.MAC), d.MTU)
	}
	for _, d := range set.Devices {
		if d.User != nil {
			for _, p := range d.User.Publish {
				fact("publish", "%s", p)
			}
		}
	}
	return []byte(b.String())
}

// describeWarm is what a guest that was sealed after its start says of that.
func describeWarm(bytes, pieces int, once bool) string {
	starts := "any number of times"
	if once {
		starts = "once"
	}
	return fmt.Sprintf("warm %s\n", strconv.Quote(fmt.Sprintf("as it waited for input, %d KiB of memory in %d pieces; it starts %s", bytes>>10, pieces, starts)))
}

func macText(mac [6]byte) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])
}

// ErrNotSealed says that a file is not a sealed guest.
var ErrNotSealed = errors.New("not a sealed guest")

// ReadSealed returns a sealed guest's description. It can be trusted only if
// gocat seal has made the file.
func ReadSealed(file io.ReaderAt) ([]Fact, error) {
	if text, err := image.SealedNote(file); err == nil {
		return readFacts(string(text))
	}
	text, err := sealedText(file)
	if err != nil {
		return nil, ErrNotSealed
	}
	return readFacts(text)
}

func readFacts(text string) (facts []Fact, err error) {
	for line := range strings.Lines(text) {
		name, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		value, err := strconv.Unquote(quoted)
		if err != nil || name == "" {
			return nil, fmt.Errorf("sealed guest: its description has the line %.40q", line)
		}
		facts = append(facts, Fact{OneLine(name), value})
	}
	return facts, nil
}
