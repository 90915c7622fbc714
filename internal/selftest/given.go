package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
)

// given is what attacking guests are started with: their devices, and what gocat
// inherits besides and must keep from them. All of it is memory and disappears
// with this process. One attack at a time uses it.
type given struct {
	image          *os.File
	stdout, stderr *os.File
	net, netPeer   [2]*os.File // sockets: devices a and b, and their other ends
	disk           [2]*os.File // the block devices small and large
	file           *os.File    // a file that is not the guest's, at an offset of 7
	full           [2]*os.File // a pipe with something in it
	dir            *os.File    // a directory: the root
}

// Devices of attacking guests, by handle.
const (
	smallHandle = 1 + iota
	netA
	largeHandle
	netB
)

// Numbers of descriptors that gocat inherits. Those of netA and netB are devices.
const (
	fdNetA  = 3
	fdFile  = 4
	fdRead  = 5
	fdWrite = 6
	fdDir   = 7
	fdNetB  = 9
	fdImage = 10
	fdSmall = 11
	fdLarge = 12
	fdLast  = 12
)

// Sizes of the disks in bytes, and of their blocks.
const (
	smallBlock, smallSize = 512, 8 * 512
	largeBlock, largeSize = 4096, 4 * 4096
)

// callerMemory is memory of this process that guests know the address of, and
// stays zero.
var callerMemory [callerSize]byte

const callerSize = 64

// canary is what is in everything that a guest must not change.
const canary = "gocat selftest: a canary that no guest may touch\n"

// secret is in the environment of gocat, and no guest may find it.
const secret = "GOCAT_SELFTEST_SECRET=7d1c0a54b2e94f3f"

// manifest is that of attacking guests.
func manifest(s Setting) []image.Entry {
	if s.Target() == image.HVT {
		return []image.Entry{{Name: "small", Type: image.Block}, {Name: "a", Type: image.Net}}
	}
	return []image.Entry{{Name: "small", Type: image.Block}, {Name: "a", Type: image.Net},
		{Name: "large", Type: image.Block}, {Name: "b", Type: image.Net}}
}

// devices are the options that attach them.
func devices(s Setting) []string {
	path := func(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
	o := []string{"--net=a=@" + strconv.Itoa(fdNetA), "--block=small=" + path(fdSmall)}
	if s.Target() == image.SPT {
		o = append(o, "--net=b=@"+strconv.Itoa(fdNetB), "--block=large="+path(fdLarge),
			"--block-sector-size=large="+strconv.Itoa(largeBlock))
	}
	return o
}

func newGiven() (g *given, err error) {
	g = &given{}
	keep := func(f *os.File, e error) *os.File { err = errors.Join(err, e); return f }
	g.image, g.stdout, g.stderr = keep(memfd("image")), keep(memfd("stdout")), keep(memfd("stderr"))
	g.file = keep(memfd("file"))
	g.disk = [2]*os.File{keep(memfd("small")), keep(memfd("large"))}
	g.dir = keep(os.Open("/"))
	for i := range g.net {
		fds, e := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if e != nil {
			return g, errors.Join(err, os.NewSyscallError("socketpair", e))
		}
		g.net[i], g.netPeer[i] = os.NewFile(uintptr(fds[0]), "net"), os.NewFile(uintptr(fds[1]), "peer")
	}
	var fds [2]int
	if e := unix.Pipe2(fds[:], unix.O_CLOEXEC); e != nil {
		return g, errors.Join(err, os.NewSyscallError("pipe2", e))
	}
	g.full = [2]*os.File{os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")}
	if err != nil {
		return g, err
	}
	_, e1 := g.full[1].WriteString(canary)
	_, e2 := g.file.WriteString(canary)
	_, e3 := g.file.Seek(7, 0)
	return g, errors.Join(e1, e2, e3, fill(g.disk[0], smallSize), fill(g.disk[1], largeSize))
}

func (g *given) close() {
	for _, f := range []*os.File{g.image, g.stdout, g.stderr, g.file, g.dir, g.disk[0], g.disk[1],
		g.net[0], g.net[1], g.netPeer[0], g.netPeer[1], g.full[0], g.full[1]} {
		if f != nil {
			f.Close()
		}
	}
}

// memfd makes a file without a name.
func memfd(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate("selftest "+name, unix.MFD_CLOEXEC)
	return os.NewFile(uintptr(fd), name), os.NewSyscallError("memfd_create", err)
}

// fill makes a disk of size bytes.
func fill(f *os.File, size int) error {
	_, err := f.WriteAt(bytes.Repeat([]byte(canary), size/len(canary)+1)[:size], 0)
	return err
}

// files are the descriptors that gocat inherits, in the order of their numbers.
func (g *given) files(stdin *os.File) []*os.File {
	all := make([]*os.File, fdLast+1)
	all[0], all[1], all[2] = stdin, g.stdout, g.stderr
	all[fdNetA], all[fdNetB] = g.net[0], g.net[1]
	all[fdFile], all[fdRead], all[fdWrite], all[fdDir] = g.file, g.full[0], g.full[1], g.dir
	all[fdImage], all[fdSmall], all[fdLarge] = g.image, g.disk[0], g.disk[1]
	return all
}

// prepare makes image the next attack's and empties its output.
func (g *given) prepare(image []byte) error {
	for _, f := range []*os.File{g.image, g.stdout, g.stderr} {
		if err := f.Truncate(0); err != nil {
			return err
		}
		if _, err := f.Seek(0, 0); err != nil {
			return err
		}
	}
	for i := range g.netPeer { // something to receive, once
		drain(g.net[i])
		drain(g.netPeer[i])
		if _, err := unix.Write(int(g.netPeer[i].Fd()), []byte(canary)); err != nil {
			return err
		}
	}
	_, err := g.image.WriteAt(image, 0)
	return err
}

func drain(f *os.File) {
	var buf [4096]byte
	for {
		if _, _, err := unix.Recvfrom(int(f.Fd()), buf[:], unix.MSG_DONTWAIT); err != nil {
			return
		}
	}
}

// untouched says what of this process's and the host's a guest has changed.
func (g *given) untouched() error {
	var problems []error
	changed := func(what string, got, want any) {
		problems = append(problems, fmt.Errorf("the guest changed %s: %v, want %v", what, got, want))
	}
	if callerMemory != [callerSize]byte{} {
		changed("memory of the process that started it", "other bytes", "zeros")
		callerMemory = [callerSize]byte{}
	}
	contents(g.file, []byte(canary), "a file that it was not given", changed)
	contents(g.disk[0], bytes.Repeat([]byte(canary), smallSize)[:smallSize], "the disk small", changed)
	contents(g.disk[1], bytes.Repeat([]byte(canary), largeSize)[:largeSize], "the disk large", changed)
	if at, err := g.file.Seek(0, 1); at != 7 || err != nil {
		changed("the offset of a file that it was not given", at, 7)
	}
	if n, err := unix.IoctlGetInt(int(g.full[0].Fd()), unix.TIOCINQ); n != len(canary) || err != nil {
		changed("a pipe that it was not given", n, len(canary))
	}
	for _, f := range []struct {
		*os.File
		name  string
		flags int
	}{
		{g.file, "a file", unix.O_RDWR}, {g.full[0], "a pipe", unix.O_RDONLY}, {g.full[1], "a pipe", unix.O_WRONLY},
		{g.dir, "a directory", unix.O_RDONLY}, {g.disk[0], "a disk", unix.O_RDWR}, {g.disk[1], "a disk", unix.O_RDWR},
		{g.stdout, "standard output", unix.O_RDWR}, {g.stderr, "standard error", unix.O_RDWR},
	} {
		const set = unix.O_ACCMODE | unix.O_APPEND | unix.O_NONBLOCK | unix.O_ASYNC | unix.O_DIRECT
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err != nil || flags&set != f.flags {
			changed("the flags of "+f.name, flags&set, f.flags)
		}
	}
	return errors.Join(problems...)
}

// contents compares all of a file.
func contents(f *os.File, want []byte, what string, changed func(string, any, any)) {
	got := make([]byte, len(want)+1)
	n, _ := f.ReadAt(got, 0)
	if !bytes.Equal(got[:n], want) {
		changed(what, fmt.Sprintf("%d bytes, or others", n), fmt.Sprintf("%d bytes as they were", len(want)))
	}
}

// output returns what the guest and gocat printed.
func (g *given) output() (stdout, stderr string) {
	read := func(f *os.File) string {
		info, err := f.Stat()
		if err != nil {
			return err.Error()
		}
		b := make([]byte, info.Size())
		n, _ := f.ReadAt(b, 0)
		return string(b[:n])
	}
	return read(g.stdout), read(g.stderr)
}
