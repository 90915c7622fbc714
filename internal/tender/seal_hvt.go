package tender

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
	"gocat/kvmhvt"
)

// A sealed hvt guest is gocat's own program with an entry point for it and one more
// segment, at sealedAt: a header, the path of gocat-net if there is a user network, the
// command line that gocat run would have, a NUL after each of these, the image, and a
// description. A warm one has what it was (kvmhvt.Warm) besides, from a page's beginning.
const (
	sealedAt     = 0x20_0000_0000 // far from what the kernel or the Go runtime map
	sealedMagic  = "gocathvt"
	sealedHeader = 32 // the magic, and the sizes of the arguments, the image and the description
)

// SealedEntry is the address of the entry point of a sealed guest, or 0. Like Entry
// the program sets it.
var SealedEntry uintptr

// sealHVT is Seal for hvt.
func (g *Guest) sealHVT(w io.Writer, boot Boot) error {
	if g.Supervised() {
		return errors.New("a sealed guest of hvt has no --gdb and no --dumpcore")
	}
	g.Devices.Guest = g.Name
	set, err := device.Prepare(g.Image.Manifest, &g.Devices)
	if err != nil {
		return g.Mend(err)
	}
	defer set.Close()
	c, err := g.HVT(set)
	if err == nil {
		_, err = kvmhvt.Policy(c)
	}
	if err != nil {
		return g.Mend(err)
	}
	user, err := userProgram(set)
	if err != nil {
		return err
	}
	args, err := g.sealedArgs(set)
	if err != nil {
		return err
	}
	contents, err := io.ReadAll(io.NewSectionReader(g.File, 0, maxSealed))
	if err != nil {
		return err
	}
	if boot == nil {
		return writeSealed(w, payload(user, args, contents, g.describe(set), nil))
	}
	if c.CPL != 3 {
		return kvmhvt.ErrWarmLevel
	}
	file, err := memoryFile(contents)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	command := func(fd int) []string {
		return append([]string{os.Args[0], TendWarmCommand, strconv.Itoa(fd), strconv.Itoa(file)}, args...)
	}
	return g.Mend(boot.TakeHVT(c, command, func(warm *kvmhvt.Warm) error {
		for i := range set.Devices {
			d := &set.Devices[i]
			warm.State.Modified[d.Handle] = modified(d)
		}
		facts := append(g.describe(set), describeWarm(len(warm.Contents), len(warm.Memory), warm.State.Once != 0)...)
		return writeSealed(w, append(payload(user, args, contents, facts, kvmhvt.EncodeWarm(warm)), warm.Contents...))
	}))
}

// payload returns the segment of a sealed guest, up to the contents of its memory.
func payload(user string, args []string, contents, facts, warm []byte) []byte {
	b, line := []byte(sealedMagic), []byte(user+"\x00"+strings.Join(args, "\x00")+"\x00")
	parts := [][]byte{line, contents, facts}
	for _, part := range parts {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(part)))
	}
	for _, part := range parts {
		b = append(b, part...)
	}
	if warm != nil {
		b = append(append(b, make([]byte, -len(b)&(image.PageSize-1))...), warm...)
	}
	return b
}

// payloadParts returns where the line, the image and the description lie in a payload
// that begins with head and has size bytes: each goes up to the next, and the last to
// ends[2].
func payloadParts(head []byte, size uint64) (ends [3]uint64, ok bool) {
	if len(head) < sealedHeader || string(head[:len(sealedMagic)]) != sealedMagic || size < sealedHeader {
		return ends, false
	}
	at := uint64(sealedHeader)
	for i := range ends {
		n := binary.LittleEndian.Uint64(head[8+8*i:])
		if n > size-at {
			return ends, false
		}
		at += n
		ends[i] = at
	}
	return ends, true
}

// sealedText returns the description in the file of a sealed guest.
func sealedText(file io.ReaderAt) (string, error) {
	segment, err := image.SegmentAt(file, sealedAt)
	if err != nil {
		return "", err
	}
	head := make([]byte, sealedHeader)
	if _, err := segment.ReadAt(head, 0); err != nil {
		return "", err
	}
	const most = 1 << 20
	ends, ok := payloadParts(head, uint64(segment.Size()))
	if !ok || ends[2]-ends[1] > most {
		return "", errSealedShort
	}
	text := make([]byte, ends[2]-ends[1])
	_, err = segment.ReadAt(text, int64(ends[1]))
	return string(text), err
}

// memoryFile returns a descriptor of a file in memory with contents, which a program
// that is started inherits.
func memoryFile(contents []byte) (int, error) {
	fd, err := unix.MemfdCreate("image", 0)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	for at := 0; at < len(contents); {
		n, err := unix.Pwrite(fd, contents[at:], int64(at))
		if err != nil {
			unix.Close(fd)
			return -1, os.NewSyscallError("write", err)
		}
		at += n
	}
	return fd, nil
}

// maxSealed bounds the image of a sealed guest, in bytes.
const maxSealed = 1 << 30

// userProgram returns the path of the program of user networks, "" if there is none.
func userProgram(set *device.Set) (path string, err error) {
	for i := range set.Devices {
		if u := set.Devices[i].User; u != nil {
			if path, _, err = device.UserNetwork.Command(u); err != nil {
				return "", fmt.Errorf("net '%s': %w", u.Name, err)
			}
		}
	}
	return path, nil
}

// sealedArgs returns the arguments: the options, with paths that hold wherever it
// is started and the addresses of network devices, and the guest's own.
func (g *Guest) sealedArgs(set *device.Set) ([]string, error) {
	var args []string
	if g.Kernel == "" {
		args = append(args, "--net=stdin=@0", "--net-mtu=stdin=65535")
	}
	for _, option := range g.given {
		name, value, _ := strings.Cut(strings.TrimPrefix(option, "--"), "=")
		if _, ours := find(table[:], name, true); !ours {
			continue // of gocat seal
		}
		before, path := "--"+name+"=", value
		switch name {
		case "block":
			device, file, _ := strings.Cut(value, "=")
			before, path = before+device+"=", file
		case "cgroup":
			path = value
		default:
			args = append(args, option)
			continue
		}
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		args = append(args, before+abs)
	}
	for i := range set.Devices {
		if d := &set.Devices[i]; d.Type == image.Net {
			m := d.MAC
			args = append(args, fmt.Sprintf("--net-mac=%s=%02x:%02x:%02x:%02x:%02x:%02x", d.Name, m[0], m[1], m[2], m[3], m[4], m[5]))
		}
	}
	kernel := base(g.Kernel)
	if kernel == "" {
		kernel = g.Name
	}
	return append(append(args, "--", kernel), g.Args...), nil
}

// writeSealed writes this program with a payload.
func writeSealed(w io.Writer, payload []byte) error {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("read gocat's own program: %w", err)
	}
	le := binary.LittleEndian
	// Elf64_Ehdr and Elf64_Phdr; the program itself is no hostile file.
	const (
		entry, headers, count = 24, 32, 56 // e_entry, e_phoff and e_phnum
		size                  = 56         // of a program header
		typeExec              = 2          // e_type of a program at fixed addresses
		ptLoad, ptNote        = 1, 4
	)
	if len(b) < image.PageSize || le.Uint16(b[16:]) != typeExec || SealedEntry == 0 {
		return errors.New("gocat's own program is not one that can be sealed: build it with make build")
	}
	table := b[le.Uint64(b[headers:]):]
	note, last := -1, -1
	for i := range int(le.Uint16(b[count:])) {
		switch le.Uint32(table[i*size:]) {
		case ptNote:
			note = i
		case ptLoad:
			last = i
		}
	}
	if note < 0 || last < note {
		return errors.New("gocat's own program has no note whose place the guest could take")
	}
	for len(b)%image.PageSize != 0 {
		b = append(b, 0)
	}
	// The note's place goes to the end of the segments, which ascend.
	table = b[le.Uint64(b[headers:]):]
	copy(table[note*size:last*size], table[(note+1)*size:(last+1)*size])
	h := table[last*size:][:size]
	const readable = 4 // PF_R
	le.PutUint32(h, ptLoad)
	le.PutUint32(h[4:], readable)
	for i, v := range []uint64{uint64(len(b)), sealedAt, sealedAt, uint64(len(payload)), uint64(len(payload)), image.PageSize} {
		le.PutUint64(h[8+8*i:], v)
	}
	le.PutUint64(b[entry:], uint64(SealedEntry))
	if _, err := w.Write(b); err != nil {
		return err
	}
	_, err = w.Write(payload)
	return err
}

// Payload is the segment of a sealed guest, and how long its file is.
type Payload struct {
	b    []byte
	file int64
}

// Sealed returns the payload of a program that is a sealed hvt guest, and whether it is
// one.
func Sealed() (p Payload, ok bool) {
	headers := raw.ProgramHeaders()
	if !raw.Early() {
		headers = mappedHeaders()
	}
	for i := range headers {
		if h := &headers[i]; h.Vaddr == sealedAt && h.Memsz == h.Filesz && h.Memsz < maxMemory && h.Offset < maxMemory {
			return Payload{raw.At(sealedAt, int(h.Memsz)), int64(h.Offset + h.Filesz)}, true
		}
	}
	return p, false
}

// mappedHeaders is raw.ProgramHeaders where the Go runtime has started. It takes no
// /proc: a sealed guest must not become gocat where that is missing.
func mappedHeaders() []raw.ProgramHeader {
	const atPHDR, atPHNUM = 3, 5
	var at, n uintptr
	auxiliary, err := unix.Auxv()
	if err != nil {
		return nil
	}
	for _, e := range auxiliary {
		switch e[0] {
		case atPHDR:
			at = e[1]
		case atPHNUM:
			n = e[1]
		}
	}
	return raw.HeadersAt(at, n)
}

var (
	errSealedShort = errors.New("the executable is damaged: it is not as long as gocat seal made it")
	errSealedArgs  = errors.New(device.TakesNoArgs)
)

// check says whether the file is as long as it was made: a missing part would fault
// when it is used. Without /proc nobody knows.
func (p *Payload) check() error {
	fd, err := raw.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil
	}
	size, err := raw.Seek(fd, 0, unix.SEEK_END)
	raw.Close(fd)
	if err == nil && size != p.file {
		return errSealedShort
	}
	return nil
}

// RunSealed runs the guest of a payload, with arguments of its own added. It
// returns only on error.
func RunSealed(p Payload, own []string) error {
	if err := p.check(); err != nil {
		return err
	}
	ends, ok := payloadParts(p.b[:min(sealedHeader, len(p.b))], uint64(len(p.b)))
	if !ok {
		return errSealedShort
	}
	line := raw.String(p.b[sealedHeader:ends[0]])
	userProgram, line, _ := strings.Cut(line, "\x00")
	args := raw.Slice[string](0, 64)
	for line != "" {
		var arg string
		arg, line, _ = strings.Cut(line, "\x00")
		args = raw.Append(args, arg)
	}
	inv, err := Parse(raw.Append(args, own...), table[:])
	if err != nil {
		return err
	}
	inv.sealed, inv.own = p.b[ends[0]:ends[1]], len(own)
	if at := (ends[2] + image.PageSize - 1) &^ (image.PageSize - 1); at < uint64(len(p.b)) {
		if inv.warm = p.b[at:]; len(own) > 0 {
			return errSealedArgs
		}
	}
	inv.Devices.UserProgram = userProgram
	_, err = inv.run(nil)
	return err
}

// parseSealed is open for a sealed guest.
func (g *Guest) parseSealed() (err error) {
	g.bytes.Reset(g.sealed)
	g.File = &g.bytes
	if g.Image, err = image.Parse(g.File); err == nil {
		g.Name = g.name()
	}
	return err
}
