package compare

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/peer"
)

// Guest is a unikernel to run: a bundled cat, for every tender, or an image of
// the user's, for those of its target.
type Guest struct {
	Name    string         // simple, advanced or the image's file name
	Variant guests.Variant // 0: an image of the user's
	Net     string         // the network device that gets the input
	Idle    []string       // its other network devices: nothing ever comes there
	Args    []string       // its arguments

	file *peer.Image // the user's

	mu      sync.Mutex
	bundled map[version]*peer.Image
}

// version is for what a bundled cat is built.
type version struct {
	target image.Target
	abi    uint32
}

// LoadGuest returns the guest that word names: simple, advanced or the path of
// an image. net is its network device, which need not be named if it has one
// only. Close the guest after use.
func LoadGuest(word, net string, args []string) (*Guest, error) {
	g := &Guest{Name: word, Net: "stdin", Args: args, bundled: map[version]*peer.Image{}}
	switch word {
	case "simple":
		g.Variant = guests.Simple
		return g, nil
	case "advanced":
		g.Variant = guests.Advanced
		return g, nil
	}
	b, err := readImage(word)
	if err != nil {
		return nil, err
	}
	if g.file, err = peer.NewImage(b); err != nil {
		return nil, fmt.Errorf("%s: %w", word, err)
	}
	g.Name = filepath.Base(word)
	if err := g.choose(net); err != nil {
		g.Close()
		return nil, fmt.Errorf("%s: %w", word, err)
	}
	return g, nil
}

// readImage reads an image's file.
func readImage(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--guest: %w (want simple, advanced or the path of an image)", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("--guest: %s is not a regular file: want simple, advanced or the path of an image", path)
	}
	return os.ReadFile(path)
}

// choose decides which network device gets the input: the one of the given name,
// or the only one.
func (g *Guest) choose(name string) error {
	var nets []string
	for _, e := range g.file.Manifest {
		switch e.Type {
		case image.Net:
			nets = append(nets, e.Name)
		case image.Block:
			return fmt.Errorf("the guest declares block device %q, and here it would get none", e.Name)
		}
	}
	switch {
	case len(nets) == 0:
		return errors.New("the guest declares no network device, so it has no input to compare")
	case name == "" && len(nets) > 1:
		return fmt.Errorf("the guest declares %d network devices (%s): choose one with --net", len(nets), strings.Join(nets, ", "))
	case name == "":
		name = nets[0]
	}
	at := slices.Index(nets, name)
	if at < 0 {
		return fmt.Errorf("the guest declares no network device %q, but %s", name, strings.Join(nets, ", "))
	}
	g.Net, g.Idle = name, slices.Delete(nets, at, at+1)
	return nil
}

// runsOn reports whether the tender is for guests as this.
func (g *Guest) runsOn(t *peer.Tender) bool { return g.file == nil || g.file.Target == t.Target }

// image returns the image for a tender. The guest closes it.
func (g *Guest) image(t *peer.Tender) (*peer.Image, error) {
	if g.file != nil {
		return g.file, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	v := version{t.Target, t.ABI}
	if i := g.bundled[v]; i != nil {
		return i, nil
	}
	i, err := t.Bundled(g.Variant)
	if err == nil {
		g.bundled[v] = i
	}
	return i, err
}

// Close releases the guest's images.
func (g *Guest) Close() {
	if g.file != nil {
		g.file.Close()
	}
	for _, i := range g.bundled {
		i.Close()
	}
}
