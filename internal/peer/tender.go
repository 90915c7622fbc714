// Package peer runs tenders next to each other: gocat's own two, and those of
// Solo5 that a user names. gocat compare and gocat bench share it.
package peer

import (
	"fmt"
	"strings"

	"gocat/internal/image"
)

// Tender is a program that runs guests of one target.
type Tender struct {
	// Kind is gocat-spt, gocat-hvt, solo5-spt or solo5-hvt.
	Kind string
	// Name tells the tender from all others of a list: the kind and, for a
	// peer, its version.
	Name string
	// Target is what its guests are built for.
	Target image.Target
	// Version is what the program answers to --version, "" if it does not
	// know that option; always "" for gocat.
	Version string
	// ABI is the version of the guests that it takes, 1 or 2. gocat takes
	// both, and has 2 here.
	ABI uint32
	// Path is the program's.
	Path string
}

// Gocat returns gocat's own tender for a target. path is a gocat program, as
// Self returns.
func Gocat(path string, target image.Target) *Tender {
	kind := "gocat-" + target.String()
	return &Tender{Kind: kind, Name: strings.Replace(kind, "-", " ", 1), Target: target, ABI: 2, Path: path}
}

// IsGocat reports whether the tender is gocat's own.
func (t *Tender) IsGocat() bool { return strings.HasPrefix(t.Kind, "gocat-") }

// Args returns the arguments, argv[0] included, that run the image at the path
// kernel with 512 MB of memory. options attach its devices and are spelled as
// Solo5's tenders have them (--net:stdin=@0), which gocat takes too; only gocat
// knows others. args are the guest's.
func (t *Tender) Args(kernel string, options, args []string) []string {
	argv := []string{t.Kind}
	if t.IsGocat() {
		argv = []string{"gocat", "run", "--backend=" + t.Target.String()}
	}
	argv = append(argv, options...)
	argv = append(argv, "--", kernel)
	return append(argv, args...)
}

// Parse reads what the user gave with --peer, KIND=PATH each, and asks the
// programs for their versions. Two peers may be of one kind, and even of one
// version, but not the same program twice.
func Parse(args []string) ([]*Tender, error) {
	var tenders []*Tender
	for _, arg := range args {
		t, err := parse(arg)
		if err != nil {
			return nil, fmt.Errorf("--peer %q: %w", arg, err)
		}
		for _, other := range tenders {
			switch {
			case other.Kind != t.Kind:
			case other.Path == t.Path:
				return nil, fmt.Errorf("--peer %q: the same tender twice", arg)
			case other.Name == t.Name:
				t.Name += " (" + t.Path + ")"
			}
		}
		tenders = append(tenders, t)
	}
	return tenders, nil
}

// parse reads one peer.
func parse(arg string) (*Tender, error) {
	const want = "want solo5-hvt=PATH or solo5-spt=PATH"
	kind, path, ok := strings.Cut(arg, "=")
	if !ok || path == "" {
		return nil, fmt.Errorf("%s", want)
	}
	t := &Tender{Kind: kind}
	switch kind {
	case "solo5-hvt":
		t.Target = image.HVT
	case "solo5-spt":
		t.Target = image.SPT
	default:
		return nil, fmt.Errorf("%q is no tender of Solo5's that gocat can compare itself with: %s", kind, want)
	}
	var err error
	if t.Path, err = executable(path); err != nil {
		return nil, err
	}
	if err := t.ask(); err != nil {
		return nil, err
	}
	t.Name = strings.TrimSpace(kind + " " + t.Version)
	return t, nil
}
