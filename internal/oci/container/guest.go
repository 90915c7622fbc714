package container

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/oci/checked"
	"gocat/internal/oci/urunc"
	"gocat/internal/tender"
	"gocat/kvmhvt"
	"gocat/spt"
)

// guest is the unikernel that a container's init becomes.
type guest struct {
	inv     *tender.Invocation
	loaded  *tender.Guest
	file    *os.File       // the image
	options []string       // of gocat run
	blocks  map[string]int // descriptors by device
	exe     int            // descriptor of the program to become
	args    []string       // its arguments, from its name on
	keep    []int          // descriptors that survive execve
	first   string         // the network device that has the first interface, or ""
	later   bool           // it gets its networks, and is made ready, when the container is started
}

// stdinDevice is the network device that standard input is attached to, as gocat
// run does for its own cat.
const stdinDevice = "stdin"

// newGuest opens the unikernel that the configuration names, in the container's
// future root directory.
func newGuest(s *specs.Spec, root *os.File) (*guest, error) {
	binary, args := "", s.Process.Args[1:]
	said, err := urunc.Read(s.Annotations, root, s.Process.Args)
	if err != nil {
		return nil, err
	}
	g := &guest{blocks: map[string]int{}}
	var f *os.File
	if said != nil {
		binary, args, g.first = said.Binary, said.Args, said.NetDevice
		if f, err = urunc.Open(root, binary); err != nil {
			return nil, err
		}
		if said.Block != "" {
			disk, err := openDisk(root, said.Block, s.Root.Readonly)
			if err != nil {
				return nil, err
			}
			g.blocks[said.BlockDevice] = disk
		}
	} else if f, binary, err = find(s.Process, root); err != nil {
		return nil, err
	}
	o := tender.New()
	g.file, o.File = f, int(f.Fd())
	// Arguments arrive as the engine has them. Those of urunc's images are one line,
	// which may have quotes of its own.
	o.Quote = said == nil
	o.Unblock = tender.Ending // create has blocked them
	g.inv = &tender.Invocation{Options: o, Kernel: path.Base(binary), Args: args}
	if g.loaded, err = g.inv.Load(); err != nil {
		return nil, err
	}
	if said != nil && said.Target != g.loaded.Image.Target {
		return nil, fmt.Errorf("%s is built for %v, and the image says %v", binary, g.loaded.Image.Target, said.Target)
	}
	return g, nil
}

// find opens the program of a process as execvp(3) finds it, which reads PATH.
func find(p *specs.Process, root *os.File) (*os.File, string, error) {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(p.Cwd, name)
		}
		f, err := urunc.Open(root, path.Clean(name))
		if err != nil {
			return nil, "", fmt.Errorf("exec: %.200q: %w", name, err)
		}
		return f, name, nil
	}
	for _, e := range slices.Backward(p.Env) { // the last counts
		dirs, ok := strings.CutPrefix(e, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(dirs) {
			if !path.IsAbs(dir) {
				dir = path.Join(p.Cwd, dir)
			}
			at := path.Join(dir, name)
			if f, err := urunc.Open(root, at); err == nil {
				return f, at, nil
			}
		}
		break
	}
	return nil, "", fmt.Errorf("exec: %.200q: executable file not found in $PATH", name)
}

// openDisk opens a file of the image's as a disk. One on another file system, such
// as /proc, is not the image's.
func openDisk(root *os.File, name string, readonly bool) (int, error) {
	open := func(flags int) (*os.File, error) {
		return checked.Open(int(root.Fd()), name, checked.Resolve|unix.RESOLVE_NO_XDEV, flags, checked.Regular(strconv.Quote(name)))
	}
	flags := unix.O_RDWR
	if readonly {
		flags = unix.O_RDONLY
	}
	f, err := open(flags)
	if errors.Is(err, unix.EROFS) {
		f, err = open(unix.O_RDONLY)
	}
	if errors.Is(err, unix.EXDEV) {
		return none, fmt.Errorf("%.200q is not a file of the image's root", name)
	}
	if err != nil {
		return none, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// nets are the guest's network devices that want a network.
func (g *guest) nets() (names []string) {
	for _, e := range g.loaded.Image.Manifest {
		if e.Type == image.Net && e.Name != stdinDevice {
			names = append(names, e.Name)
		}
	}
	return names
}

// set sets an option of the guest's, as gocat run has it.
func (g *guest) set(name, format string, args ...any) error {
	value := fmt.Sprintf(format, args...)
	for _, o := range tender.Table() {
		if o.Name == name {
			g.options = append(g.options, "--"+name+"="+value)
			return o.Set(g.inv.Options, value)
		}
	}
	return fmt.Errorf("no option --%s", name)
}

// ready gives the guest its memory and devices, and does all that can fail.
func (g *guest) ready(b *bootstrap, m *message, taps []int) error {
	if len(taps) != len(m.Links) {
		return errors.New("descriptors of taps are missing: the limit on them is too low")
	}
	if err := g.attach(b.State.ID, b.Spec.Linux.Resources, m, taps); err != nil {
		return err
	}
	return g.prepare(b)
}

// attach gives the guest its memory and devices.
func (g *guest) attach(id string, r *specs.LinuxResources, m *message, taps []int) error {
	g.inv.Devices.AllowCloexec = true
	err := g.set("mem", "%d", g.memory(r)/image.MB)
	for i, l := range m.Links {
		err = errors.Join(err, g.set("net", "%s=@%d", l.Device, taps[i]),
			g.set("net-mac", "%s=%s", l.Device, l.MAC), g.set("net-mtu", "%s=%d", l.Device, l.MTU))
		g.keep = append(g.keep, taps[i])
	}
	for _, e := range g.loaded.Image.Manifest {
		if e.Type == image.Net && e.Name == stdinDevice {
			err = errors.Join(err, g.set("net", "%s=@0", e.Name), g.set("net-mtu", "%s=65535", e.Name))
		}
	}
	for name, fd := range g.blocks {
		err = errors.Join(err, g.set("block", "%s=@%d", name, fd))
		g.keep = append(g.keep, fd)
	}
	if g.inv.Quote {
		g.options = append(g.options, "--quote")
	}
	g.inv.Args = append(slices.Clone(m.Args), g.inv.Args...)
	if len(id) == 64 { // an engine's; people know it by its beginning
		id = id[:12]
	}
	if g.set("name", "%s", id) != nil { // it has other characters, or too many
		g.options = g.options[:len(g.options)-1]
	}
	return err
}

// Memory that guests have without a limit, and at most by what tenders can give, in
// bytes.
const (
	maxHVT  = 4 << 30
	maxHVT1 = 1 << 30 // of ABI version 1
	maxSPT  = 1 << 38
)

// memory is what the guest is given: what the container's limit lets it have, or what
// guests have without one where that is more. It is not taken before it is used, and
// the kernel kills a guest that uses more than the limit, as it does any process.
func (g *guest) memory(r *specs.LinuxResources) uint64 {
	most := uint64(maxSPT)
	if img := g.loaded.Image; img.Target == image.HVT {
		if most = maxHVT; img.Version == 1 {
			most = maxHVT1
		}
	}
	if r == nil || r.Memory == nil || r.Memory.Limit == nil || *r.Memory.Limit <= 0 {
		return min(tender.DefaultMemory, most)
	}
	limit := uint64(*r.Memory.Limit)
	if limit >= 1<<50 { // as good as none
		return min(tender.DefaultMemory, most)
	}
	return min(max(limit&^(image.MB-1), tender.DefaultMemory), most)
}

// prepare sets what to become.
func (g *guest) prepare(b *bootstrap) error {
	set, err := device.Attach(g.loaded.Image.Manifest, &g.inv.Devices)
	if err != nil {
		return g.explain(err)
	}
	if g.loaded.Image.Target == image.HVT {
		return g.explain(g.prepareHVT(b, set))
	}
	c, err := g.loaded.SPT(set)
	if err != nil {
		return err
	}
	e, err := spt.NewExecutable(c)
	if err != nil {
		return g.explain(err)
	}
	g.exe, g.args = e.FD, []string{c.Name}
	return nil
}

func (g *guest) prepareHVT(b *bootstrap, set *device.Set) error {
	if b.KVM == none {
		return errors.New("cannot open /dev/kvm, which an hvt guest takes")
	}
	if b.Gocat == none {
		return errors.New("the program gocat, which tends hvt guests, is not beside the runtime")
	}
	g.inv.KVM = b.KVM
	c, err := g.loaded.HVT(set)
	if err != nil {
		return err
	}
	if err := kvmhvt.Try(c); err != nil {
		return err
	}
	file := int(g.file.Fd())
	g.keep = append(g.keep, file, b.KVM)
	g.exe, g.args = b.Gocat, append([]string{"gocat", tender.TendContainerCommand, strconv.Itoa(file), strconv.Itoa(b.KVM), "--backend=hvt"}, g.options...)
	g.args = append(append(g.args, "--", g.inv.Kernel), g.inv.Args...)
	return nil
}

// explain adds to an error how to fix it in a container.
func (g *guest) explain(err error) error {
	var missing *device.NotAttachedError
	var memory *image.MemoryError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &memory) && memory.Need != 0:
		return fmt.Errorf("%w: a memory limit of at least %d MB gives it that", err, memory.Need/image.MB)
	case errors.As(err, &missing):
		text := err.Error()
		for _, d := range missing.Devices {
			if d.Type == image.Block {
				text += fmt.Sprintf(": mount a file or block device at /dev/solo5/%s", d.Name)
				break
			}
		}
		return errors.New(text)
	}
	return err
}

// survive lets what the guest needs survive execve.
func (g *guest) survive() {
	for _, fd := range g.keep {
		unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	}
}
