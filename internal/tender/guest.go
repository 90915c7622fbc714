package tender

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/kvmhvt"
)

// Guest is a loaded image. Close it after use.
type Guest struct {
	*Invocation
	Image *image.Image
	File  io.ReaderAt  // the image's bytes
	Name  string       // for messages and as process name
	bytes bytes.Reader // File, of a bundled guest
	file  raw.File     // File, of others
}

// Load opens and parses the invocation's image, or makes the bundled cat's.
func (inv *Invocation) Load() (*Guest, error) {
	g := raw.New[Guest]()
	g.Invocation, g.file.FD = inv, -1
	var err error
	if inv.sealed != nil {
		err = g.parseSealed()
	} else if inv.Kernel == "" {
		err = g.bundled()
	} else {
		err = g.open()
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	if b := inv.Backend; b != 0 && b != g.Image.Target {
		g.Close()
		return nil, fmt.Errorf("%s is built for %v, not for %v: run it with --backend=%v", inv.Kernel, g.Image.Target, b, g.Image.Target)
	}
	return g, nil
}

// Close releases the image's file.
func (g *Guest) Close() {
	if g.file.FD >= 0 {
		raw.Close(g.file.FD)
		g.file.FD = -1
	}
}

func (g *Guest) bundled() error {
	target := g.Backend
	if target == 0 {
		target = image.SPT
	}
	b, err := guests.Cat(target, g.Variant)
	if err != nil {
		return err
	}
	g.bytes.Reset(b)
	g.File, g.Name = &g.bytes, "cat"
	g.Args = bundledArgs[:]
	g.Image, err = image.Parse(g.File)
	return err
}

var bundledArgs = [...]string{"--solo5:quiet", "-l", "netif:quiet"}

func (g *Guest) open() error {
	var err error
	if given := g.Options.File; given != kvmhvt.NoFD {
		g.file.FD, err = raw.Fcntl(given, unix.F_DUPFD_CLOEXEC, 3)
	} else { // O_NONBLOCK: a FIFO without a writer must not hang
		g.file.FD, err = raw.Open(g.Kernel, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK)
	}
	if err != nil {
		return fmt.Errorf("%s: could not open: %w", g.Kernel, err)
	}
	var st unix.Stat_t
	if err := raw.Fstat(g.file.FD, &st); err != nil {
		return fmt.Errorf("%s: %w", g.Kernel, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s: not a regular file: KERNEL is a unikernel image", g.Kernel)
	}
	g.File = &g.file
	g.Image, err = image.Parse(g.File)
	if err != nil {
		if _, no := ReadSealed(g.File); no == nil {
			return fmt.Errorf("%s: a sealed guest is no image, but a program: run it itself", g.Kernel)
		}
		return fmt.Errorf("%s: %w", g.Kernel, err)
	}
	g.Name = g.name()
	return nil
}

// name is the unikernel's, for messages and the process: its file's without .spt or
// .hvt.
func (g *Guest) name() string {
	file := base(g.Kernel)
	if name, ok := strings.CutSuffix(file, g.Image.Target.String()); ok && strings.HasSuffix(name, ".") {
		return name[:len(name)-1]
	}
	return file
}

// base returns the last element of the path of a file.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Run runs the guest. The process ends with it: an spt guest replaces the
// process, and the tender of an hvt guest is confined until it exits. So Run
// returns only on error.
func (g *Guest) Run() error {
	g.Devices.Guest = g.Name
	if g.Verbose {
		g.Devices.Say = Say
	}
	set, err := device.Attach(g.Image.Manifest, &g.Devices)
	if err != nil {
		return g.Mend(err)
	}
	defer set.Close()
	if g.Image.Target == image.HVT {
		return g.Mend(runHVT(g, set))
	}
	return g.Mend(runSPT(g, set))
}

// Map maps the image's file for reading, nil if that is impossible. The file may
// become shorter meanwhile, and then reading faults. The mapping stays.
func (g *Guest) Map() []byte {
	var st unix.Stat_t
	if g.file.FD < 0 || raw.Fstat(g.file.FD, &st) != nil || st.Size <= 0 {
		return nil
	}
	b, err := raw.MmapFile(g.file.FD, int(st.Size))
	if err != nil {
		return nil
	}
	return b
}
