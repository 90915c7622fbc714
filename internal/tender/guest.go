package tender

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/guest"
	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/seccomp"
	"gocat/spt"
)

// Guest is a loaded image. Close it after use.
type Guest struct {
	*Invocation
	Image *image.Image
	File  io.ReaderAt  // the image's bytes
	Name  string       // for messages and as process name
	bytes bytes.Reader // File, of a bundled guest
	file  file         // File, of others
}

// Load opens and parses the invocation's image, or makes the bundled cat's.
func (inv *Invocation) Load() (*Guest, error) {
	g := raw.New[Guest]()
	g.Invocation, g.file.fd = inv, -1
	var err error
	if inv.Kernel == "" {
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
	if g.file.fd >= 0 {
		raw.Close(g.file.fd)
		g.file.fd = -1
	}
}

func (g *Guest) bundled() error {
	target := g.Backend
	if target == 0 {
		target = image.SPT
	}
	b, err := guest.Cat(target, g.Variant)
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
	// O_NONBLOCK: a FIFO without a writer must not hang.
	g.file.fd, err = raw.Open(g.Kernel, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK)
	if err != nil {
		return fmt.Errorf("%s: could not open: %w", g.Kernel, err)
	}
	var st unix.Stat_t
	if err := raw.Fstat(g.file.fd, &st); err != nil {
		return fmt.Errorf("%s: %w", g.Kernel, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%s: not a regular file: KERNEL is a unikernel image", g.Kernel)
	}
	g.File = &g.file
	g.Image, err = image.Parse(g.File)
	if err != nil {
		return fmt.Errorf("%s: %w", g.Kernel, err)
	}
	g.Name = base(g.Kernel)
	if name, ok := strings.CutSuffix(g.Name, g.Image.Target.String()); ok && strings.HasSuffix(name, ".") {
		g.Name = name[:len(name)-1]
	}
	return nil
}

// base returns the last element of the path of a file.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// file is an io.ReaderAt on a descriptor that it does not own.
type file struct{ fd int }

func (f *file) ReadAt(b []byte, off int64) (int, error) {
	n := 0
	for n < len(b) {
		k, err := raw.Pread(f.fd, b[n:], off+int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if k == 0 {
			return n, io.EOF
		}
		n += k
	}
	return n, nil
}

// Backend tends the guests of one target with their attached devices.
type Backend struct {
	// Before, unless nil, is called before anything is attached.
	Before func(*Guest) error
	Run    func(*Guest, *device.Set) error // ends the process; returns only on error
	Policy func(*Guest, *device.Set) (*seccomp.Policy, error)
}

// HVT is the backend of hvt guests. Package gocat/internal/hvt sets it when it
// is initialised, so early there is none.
var HVT Backend

var errNoHVT = errors.New("no backend for hvt guests")

func (g *Guest) backend() (Backend, error) {
	if g.Image.Target == image.SPT {
		return Backend{Run: runSPT, Policy: policySPT}, nil
	}
	if HVT.Run == nil {
		return Backend{}, errNoHVT
	}
	return HVT, nil
}

// Run runs the guest. The process ends with it: an spt guest replaces the
// process, and the tender of an hvt guest is confined until it exits. So Run
// returns only on error.
func (g *Guest) Run() error {
	b, err := g.backend()
	if err != nil {
		return err
	}
	if b.Before != nil {
		if err := b.Before(g); err != nil {
			return err
		}
	}
	set, err := device.Attach(g.Image.Manifest, &g.Devices)
	if err != nil {
		return err
	}
	defer set.Close()
	return b.Run(g, set)
}

// Map maps the image's file for reading, nil if that is impossible. The file may
// become shorter meanwhile, and then reading faults. The mapping stays.
func (g *Guest) Map() []byte {
	var st unix.Stat_t
	if g.file.fd < 0 || unix.Fstat(g.file.fd, &st) != nil || st.Size <= 0 {
		return nil
	}
	b, err := unix.Mmap(g.file.fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	return b
}

func runSPT(g *Guest, set *device.Set) error {
	c, err := g.SPT(set)
	if err != nil {
		return err
	}
	return spt.Run(c)
}

func policySPT(g *Guest, set *device.Set) (*seccomp.Policy, error) {
	c, err := g.SPT(set)
	if err != nil {
		return nil, err
	}
	return spt.Policy(c)
}

// SPT returns the spt backend's configuration of the guest with its devices.
func (g *Guest) SPT(set *device.Set) (*spt.Config, error) {
	if g.EOF == device.EOFAgain {
		return nil, fmt.Errorf("--eof=again: an spt guest reads its descriptors itself and sees their end; only --backend=hvt can hide it")
	}
	if d := &defaults; g.CPL != d.CPL || g.NetRing != d.NetRing || g.Confine != d.Confine {
		return nil, fmt.Errorf("--cpl, --net-ring and --confine are for hvt guests; %s is built for spt", g.Name)
	}
	c := raw.New[spt.Config]()
	*c = spt.Config{
		Image:       g.Image,
		Manifest:    g.Image.Manifest,
		File:        g.File,
		Memory:      g.Memory,
		Devices:     set.Devices,
		Args:        g.CommandLine(),
		Name:        g.Name,
		Strict:      g.Profile == ProfileStrict || g.Profile == ProfileDefault && g.Kernel == "",
		QuietFaults: g.QuietFaults,
		ExecHeap:    g.ExecHeap,
		Isolate:     g.Isolation(),
	}
	return c, nil
}
