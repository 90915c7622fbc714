package device

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"gocat/internal/abi"
	"gocat/internal/image"
	"gocat/internal/raw"
)

// MaxArgs is the length in bytes of the longest guest command line.
const MaxArgs = abi.CmdlineSize - 1

// TakesNoArgs is the error for arguments of a guest that is started as what it was after
// an earlier start.
const TakesNoArgs = "this guest has started already, with the arguments that gocat seal was given: it takes no others"

// Guest is an image with what is attached to it: what any guest is started with.
type Guest struct {
	Image   *image.Image // parsed from File, its manifest filled in by Attach
	File    io.ReaderAt  // the image's contents, read once while the guest is set up
	Memory  uint64       // guest memory in bytes, in whole pages
	Devices []Device     // attached: at most one for each entry of the manifest
	Args    string       // guest command line, at most MaxArgs bytes, without NUL
	Warn    bool         // of input that is lost (Unread)
}

// Unread is a line to print if there is input on descriptor 0 when the guest starts,
// or "" where that is no mistake: a device reads it, or the guest has a device for
// standard input and the user attached it elsewhere.
func (g *Guest) Unread() string {
	if !g.Warn {
		return ""
	}
	for i := range g.Devices {
		if g.Devices[i].FD == 0 || g.Devices[i].Name == "stdin" {
			return ""
		}
	}
	return "gocat: warning: standard input is not read: the unikernel declares no network device 'stdin'\n"
}

// Check says what keeps the tender of a target from running the guest.
func (g *Guest) Check(target image.Target) error {
	switch {
	case g.Image == nil || g.File == nil:
		return errNoImage
	case g.Image.Target != target:
		return fmt.Errorf("the image is for target %v, not %v", g.Image.Target, target)
	case g.Memory == 0 || g.Memory%image.PageSize != 0:
		return fmt.Errorf("guest memory of %d bytes: want whole pages of %d", g.Memory, image.PageSize)
	case len(g.Args) > MaxArgs:
		return fmt.Errorf("the guest's command line is %d bytes long: at most %d are possible", len(g.Args), MaxArgs)
	case strings.IndexByte(g.Args, 0) >= 0:
		return errArgsNUL
	}
	if err := g.Image.CheckMemory(g.Memory); err != nil {
		return err
	}
	seen := [image.MaxEntries]bool{}
	for i := range g.Devices {
		d := &g.Devices[i]
		switch m := g.Image.Manifest; {
		case d.Handle < 1 || d.Handle >= len(m) || d.Handle >= len(seen) || m[d.Handle].Type != d.Type:
			return fmt.Errorf("device '%s', handle %d, is not one of the image's manifest", d.Name, d.Handle)
		case seen[d.Handle]:
			return fmt.Errorf("device '%s' is attached twice", d.Name)
		case d.Type == image.Block && (d.BlockSize == 0 || d.Capacity < uint64(d.BlockSize)):
			return fmt.Errorf("block device '%s' holds %d bytes in blocks of %d: not one block", d.Name, d.Capacity, d.BlockSize)
		}
		seen[d.Handle] = true
	}
	return nil
}

var (
	errNoImage = errors.New("no image, or no file with its contents")
	errArgsNUL = errors.New("the guest's command line has a NUL byte")
)

// Changed is a line for a disk that was written to since the guest was stopped that is
// started from there.
func (d *Device) Changed() string {
	return raw.Concat("gocat: block ", quote(d.Name), ": ", d.Path, " has changed since the guest was stopped: what the guest remembers of it may be wrong\n")
}
