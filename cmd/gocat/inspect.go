package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/tender"
)

func inspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect KERNEL",
		Short: "Show what a unikernel image is and which devices it wants",
		Long: `Show the ABI and the manifest of the unikernel image KERNEL (its Solo5 notes),
its segments, entry point and size. The image is checked as before a run.

Of an executable that gocat seal has made it shows what it was made of.`,
		Example: `  gocat inspect cat.spt
  gocat inspect --format json cat.spt | jq '.manifest[].name'`,
		Args: operands,
		RunE: func(_ *cobra.Command, args []string) error {
			if facts, err := inspectSealed(args[0]); !errors.Is(err, tender.ErrNotSealed) {
				if err != nil {
					return err
				}
				return printSealed(args[0], facts, format)
			}
			d, err := inspect(args[0])
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(d)
			}
			return results(d.print)
		},
	}
	formats(cmd, &format, "text", "json")
	return cmd
}

// inspectSealed returns the description in the file at path if it is a sealed guest.
func inspectSealed(path string) ([]tender.Fact, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang
	if err != nil {
		return nil, tender.ErrNotSealed // inspect says why
	}
	defer f.Close()
	facts, err := tender.ReadSealed(f)
	if err != nil && !errors.Is(err, tender.ErrNotSealed) {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return facts, err
}

func printSealed(path string, facts []tender.Fact, format string) error {
	if format == "json" {
		return printJSON(struct {
			Kernel string        `json:"kernel"`
			Sealed []tender.Fact `json:"sealed"`
		}{path, facts})
	}
	return results(func(w io.Writer) error {
		p := printer{w: w}
		p.printf("%s: a sealed guest, an executable for Linux. It says of itself:\n", tender.OneLine(path))
		for _, f := range facts {
			p.printf("  %-10s  %s\n", f.Name, tender.OneLine(f.Value))
		}
		return p.err
	})
}

// description is an image as inspect prints it. Addresses and sizes are in
// bytes.
type description struct {
	Kernel   string        `json:"kernel"`
	Size     int64         `json:"size"`
	Target   string        `json:"target"`
	Version  uint32        `json:"abi_version"`
	Entry    uint64        `json:"entry"`
	End      uint64        `json:"end"`
	Segments []segment     `json:"segments"`
	Notes    []note        `json:"notes"`
	Manifest []declaration `json:"manifest"`
}

type segment struct {
	Header int    `json:"header"` // number of the program header
	Prot   string `json:"protection"`
	Start  uint64 `json:"start"`
	End    uint64 `json:"end"`
	Vaddr  uint64 `json:"vaddr"`
	Offset uint64 `json:"offset"`
	Filesz uint64 `json:"file_size"`
	Memsz  uint64 `json:"memory_size"`
}

type note struct {
	Name string `json:"name"`
	Says string `json:"says"`
}

type declaration struct {
	Handle int    `json:"handle"`
	Type   string `json:"type"`
	Name   string `json:"name"`
	Option string `json:"option"` // that attaches it
}

func inspect(path string) (*description, error) {
	if path == "" {
		return nil, errors.New("KERNEL is empty: give the path of a unikernel image")
	}
	g, err := (&tender.Invocation{Options: tender.New(), Kernel: path}).Load()
	if err != nil {
		return nil, err
	}
	defer g.Close()
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	m := g.Image
	d := &description{Kernel: path, Size: info.Size(), Target: m.Target.String(), Version: m.Version, Entry: m.Entry, End: m.End,
		Notes: []note{
			{"ABI1", fmt.Sprintf("target %d (%v), version %d", m.Target, m.Target, m.Version)},
			{"MFT1", fmt.Sprintf("%d entries, %d bytes", len(m.Manifest), m.Manifest.Size())},
		},
		Manifest: []declaration{}}
	if m.Fault != 0 {
		d.Notes = append(d.Notes, note{"FLT1", fmt.Sprintf("signal handler %#x (gocat's own: for its spt tender)", m.Fault)})
	}
	if m.Timer != 0 {
		d.Notes = append(d.Notes, note{"TMR1", fmt.Sprintf("timer words %#x (gocat's own: a timer interrupts the guest)", m.Timer)})
	}
	if m.Signals != 0 {
		d.Notes = append(d.Notes, note{"SIG1", fmt.Sprintf("word of signals %#x (gocat's own: SIGTERM and SIGINT come to the guest)", m.Signals)})
	}
	if m.Ring != 0 {
		d.Notes = append(d.Notes, note{"RNG1", fmt.Sprintf("word of the network ring %#x (gocat's own: several frames at once)", m.Ring)})
	}
	if m.Generation != 0 {
		d.Notes = append(d.Notes, note{"GEN1", fmt.Sprintf("generation %#x (gocat's own: clones of a snapshot are told apart)", m.Generation)})
	}
	for _, s := range m.Segments {
		d.Segments = append(d.Segments, segment{s.Index, s.Prot.String(), s.Start, s.End, s.Vaddr, s.Offset, s.Filesz, s.Memsz})
	}
	for handle, e := range m.Manifest {
		switch e.Type {
		case image.Net:
			d.Manifest = append(d.Manifest, declaration{handle, e.Type.String(), e.Name, "--net " + e.Name + "=IFACE|@FD"})
		case image.Block:
			d.Manifest = append(d.Manifest, declaration{handle, e.Type.String(), e.Name, "--block " + e.Name + "=PATH"})
		}
	}
	return d, nil
}

// print writes the description as text.
func (d *description) print(w io.Writer) error {
	p := printer{w: w}
	p.printf("%s: Solo5 unikernel for %s, ABI version %d\n", d.Kernel, d.Target, d.Version)
	p.printf("size   %d bytes\nentry  %#x\nend    %#x\n", d.Size, d.Entry, d.End)
	p.printf("segments:\n  header  prot  %-27s  %-12s  %-12s  %s\n", "addresses", "offset", "in file", "in memory")
	for _, s := range d.Segments {
		p.printf("  %6d  %-4s  %#010x - %#010x  %#-12x  %-12d  %d\n", s.Header, s.Prot, s.Start, s.End, s.Offset, s.Filesz, s.Memsz)
	}
	p.printf("notes:\n")
	for _, n := range d.Notes {
		p.printf("  %s  %s\n", n.Name, n.Says)
	}
	if len(d.Manifest) == 0 {
		p.printf("devices: none\n")
		return p.err
	}
	p.printf("devices:\n  handle  %-11s  %-16s  attached by\n", "type", "name")
	for _, e := range d.Manifest {
		p.printf("  %6d  %-11s  %-16s  %s\n", e.Handle, e.Type, e.Name, e.Option)
	}
	return p.err
}
