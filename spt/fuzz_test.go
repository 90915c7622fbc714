package spt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/seccomp"
)

// modelDiskSize is the size in bytes of every disk of the modelled host.
const modelDiskSize = 1 << 20

// fuzzBytes are a fuzzer's bytes, then zeros.
type fuzzBytes []byte

func (b *fuzzBytes) next(n int) uint64 {
	var word [8]byte
	*b = (*b)[copy(word[:n], *b):]
	return binary.LittleEndian.Uint64(word[:])
}

// fuzzSegments makes segments of any size and protection, in order.
func fuzzSegments(b fuzzBytes) (segments []image.SpecSegment) {
	at := uint64(image.MinAddr)
	for len(b) > 0 && len(segments) < 20 {
		at += b.next(1) % 16 * image.PageSize
		s := image.SpecSegment{Vaddr: at + b.next(2)%image.PageSize, Prot: []image.Prot{image.R | image.X, image.R | image.W, image.R, image.X, image.W, 0}[b.next(1)%6]}
		s.Data = bytes.Repeat([]byte{byte(len(segments) + 1)}, int(b.next(2)%20000))
		s.Memsz = uint64(len(s.Data)) + b.next(2)
		at = (s.Vaddr + s.Memsz + image.PageSize - 1) &^ (image.PageSize - 1)
		segments = append(segments, s)
	}
	return segments
}

// fuzzDevices makes devices, and the descriptors that the guest inherits for them.
func fuzzDevices(b fuzzBytes) (m image.Manifest, devices []device.Device, inherited map[int]*modelFile) {
	m, inherited = image.Manifest{{Type: image.Reserved}}, map[int]*modelFile{}
	for len(b) >= 2 && len(m) < image.MaxEntries {
		what, number := b.next(1), int(b.next(1))
		d := device.Device{Handle: len(m), Name: fmt.Sprint("dev", len(m)), Type: image.Net, FD: -1}
		switch kind := []string{"pipe", "tty", "file", "socket", "tap", "disk", "other", "inherited tap"}[what%8]; kind {
		case "tap":
			d.Path = fmt.Sprint("tap", number)
		case "disk":
			d.Type, d.Path, d.BlockSize, d.Capacity = image.Block, fmt.Sprint("/disk", number), 512<<(number%4), modelDiskSize
		default:
			if number == 255 {
				number = 1<<31 - 1
			}
			if inherited[number] != nil {
				continue
			}
			d.Inherited, d.FD = true, number
			inherited[number] = &modelFile{is: fmt.Sprint("inherited ", number), kind: strings.TrimPrefix(kind, "inherited "), mode: what / 8 % 3, plain: true}
		}
		m = append(m, image.Entry{Name: d.Name, Type: d.Type})
		devices = append(devices, d)
	}
	return m, devices, inherited
}

// Bits of FuzzSeal's flags.
const (
	fuzzStrict = 1 << iota
	fuzzQuiet
	fuzzExecHeap
	fuzzNoStdin
	fuzzNoStdout
	fuzzNoStderr
	fuzzNoProc
	fuzzProcess1
	fuzzLowMapped
	fuzzLowSealed
	fuzzVdsoSealed
	fuzzIsolate // as gocat run does by default
	fuzzReport
	fuzzFiltered // a filter was inherited
	fuzzRefuses
)

// FuzzSeal seals any guest and runs its plan in a model of the kernel. What the
// guest is entered with is what its configuration says, and nothing else.
func FuzzSeal(f *testing.F) {
	text := []byte{0, 0, 0, 0, 100, 0, 0, 0}                                                               // 100 bytes of text
	more := append(text, 3, 0x10, 8, 1, 0, 16, 0xff, 0xff, 0, 0, 0, 2, 9, 0, 0, 0, 1, 0, 0, 1, 0, 0, 9, 0) // data with bss, constants, bss
	f.Add(text, []byte(nil), uint16(0), uint8(0), "", "")
	f.Add(more, []byte{0, 0}, uint16(fuzzStrict), uint8(3), "--solo5:quiet -l netif:quiet", "cat")
	f.Add(more, []byte{0, 0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 5, 7, 6, 255}, uint16(0), uint8(1), "a b", "a long name of a process")
	f.Add(more, []byte{4, 1, 4, 2, 5, 1, 0, 9}, uint16(fuzzQuiet|fuzzExecHeap|fuzzProcess1), uint8(200), "", "x")
	f.Add(text, []byte{0, 0}, uint16(fuzzNoStdin|fuzzNoStderr|fuzzNoProc), uint8(0), "", "")
	f.Add(text, []byte{0, 1, 3, 2}, uint16(fuzzLowMapped|fuzzVdsoSealed|fuzzQuiet), uint8(0), "", "")
	f.Add(text, []byte(nil), uint16(fuzzNoStdout), uint8(0), "", "")
	f.Add(text, []byte(nil), uint16(fuzzLowSealed), uint8(0), "", "")
	f.Add(more, []byte{0, 0, 2, 3}, uint16(fuzzIsolate), uint8(3), "", "cat")
	f.Add(more, []byte{0, 0, 5, 4}, uint16(fuzzIsolate|fuzzReport|fuzzRefuses), uint8(3), "", "cat")
	f.Add(more, []byte{0, 0}, uint16(fuzzIsolate|fuzzReport|fuzzFiltered|fuzzQuiet), uint8(3), "", "cat")
	f.Add(text, bytes.Repeat([]byte{4, 1}, 63), uint16(0), uint8(0), strings.Repeat("x", MaxArgs), "")
	f.Fuzz(func(t *testing.T, segments, devices []byte, flags uint16, heap uint8, args, name string) {
		spec := image.Spec{Target: image.SPT, Version: 2, Segments: fuzzSegments(segments)}
		var inherited map[int]*modelFile
		c := &Config{
			Guest: device.Guest{Args: strings.ReplaceAll(args, "\x00", " ")}, Name: strings.ReplaceAll(name, "\x00", " "),
			Failure: 1, Strict: flags&fuzzStrict != 0, QuietFaults: flags&fuzzQuiet != 0, ExecHeap: flags&fuzzExecHeap != 0,
		}
		if flags&fuzzIsolate != 0 {
			c.Isolate.Mode, c.Isolate.Cheap = isolate.Auto, isolate.CheapSPT
		}
		c.Isolate.Report = flags&fuzzReport != 0
		spec.Manifest, c.Devices, inherited = fuzzDevices(devices)
		for _, s := range spec.Segments {
			if s.Prot&image.X != 0 {
				spec.Entry = s.Vaddr
			}
		}
		b, err := image.Encode(spec)
		if err != nil {
			return
		}
		file := bytes.NewReader(b)
		if c.Image, err = image.Parse(file); err != nil {
			return
		}
		c.File, c.Memory = file, c.Image.End+uint64(heap)*image.PageSize
		var out bytes.Buffer
		if err := Seal(c, &out); err != nil {
			if !strings.Contains(err.Error(), "at most") || strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
			return
		}
		k := loadSealed(t, c, out.Bytes())
		k.noProc, k.refuses = flags&fuzzNoProc != 0, flags&fuzzRefuses != 0
		if flags&fuzzFiltered != 0 {
			k.inherited = unix.SECCOMP_MODE_FILTER
		}
		k.pid = 2 - uint64(flags&fuzzProcess1)/fuzzProcess1
		k.start(flags, inherited)
		before := maps.Clone(k.fds)
		message, end, err := k.run()
		switch {
		case err != nil:
			t.Fatal(err)
		case message != "":
			refused := flags&fuzzNoStdout != 0 && inherited[1] == nil && strings.Contains(message, "standard output") ||
				flags&fuzzLowSealed != 0 && strings.Contains(message, "page zero")
			if !refused {
				t.Fatalf("refused: %s", message)
			}
		default:
			if end[0] != c.Image.Entry || end[1] != c.Memory-8 || end[2] != bootBase || end[3] != planBase {
				t.Errorf("the guest is entered with %#x", end)
			}
			k.checkMemory(t, c, spec, end[4])
			k.checkDescriptors(t, c, before)
			k.checkFilter(t, c)
		}
	})
}

// loadSealed maps a sealed executable as the kernel does, and checks that it is
// one: by debug/elf, which knows nothing of gocat.
func loadSealed(t *testing.T, c *Config, b []byte) *modelKernel {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	k := &modelKernel{elf: b, pages: make([]modelPage, c.Memory/image.PageSize)}
	for i := range k.pages {
		k.pages[i].from = pageUnmapped
	}
	if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 || len(f.Sections) != 0 {
		t.Errorf("%+v", f.FileHeader)
	}
	last, entered := uint64(memBase), false
	for _, p := range f.Progs {
		switch {
		case p.Type == elf.PT_GNU_STACK && p.Flags&elf.PF_X == 0:
			continue
		case p.Type != elf.PT_LOAD || p.Vaddr < last || p.Vaddr%image.PageSize != 0 || p.Off%image.PageSize != 0 ||
			p.Filesz%image.PageSize != 0 || p.Filesz != p.Memsz || p.Off > uint64(len(b)) || p.Filesz > uint64(len(b))-p.Off ||
			p.Vaddr+p.Memsz > c.Memory || p.Flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X:
			t.Fatalf("after %#x of %#x: %+v", last, c.Memory, p.ProgHeader)
		}
		last = p.Vaddr + p.Memsz
		entered = entered || f.Entry >= p.Vaddr && f.Entry < last && p.Flags&elf.PF_X != 0
		k.loads = append(k.loads, modelLoad{p.Vaddr, p.Off, p.Filesz})
		for at := uint64(0); at < p.Memsz; at += image.PageSize {
			k.pages[(p.Vaddr+at)/image.PageSize] = modelPage{image.Prot(p.Flags), int(p.Off + at)}
		}
	}
	if !entered {
		t.Errorf("entry %#x is not executable", f.Entry)
	}
	return k
}

// start opens what the process starts with.
func (k *modelKernel) start(flags uint16, inherited map[int]*modelFile) {
	k.fds, k.watched = maps.Clone(inherited), map[int]uint64{}
	for n, closed := range []uint16{fuzzNoStdin, fuzzNoStdout, fuzzNoStderr} {
		if k.fds[n] == nil && flags&closed == 0 {
			k.fds[n] = &modelFile{is: fmt.Sprint("standard ", n), kind: "pipe", mode: uint64(n+1)/2 | unix.O_NONBLOCK}
		}
	}
	for _, n := range []int{3, 4, 7, 17, 100, 1 << 20} {
		if k.fds[n] == nil {
			k.fds[n] = &modelFile{is: "leak", kind: "file"}
		}
	}
	k.high = isMapped
	if flags&fuzzVdsoSealed != 0 {
		k.high = isSealed
	}
	switch {
	case flags&fuzzLowSealed != 0:
		k.low = isSealed
	case flags&fuzzLowMapped != 0:
		k.low = isMapped
	}
}

// checkMemory compares guest memory with what the guest must have.
func (k *modelKernel) checkMemory(t *testing.T, c *Config, spec image.Spec, wiped uint64) {
	t.Helper()
	if k.low != notMapped || k.high != notMapped && k.high != onlySealed {
		t.Errorf("memory that is not the guest's stays mapped: %d below, %d above", k.low, k.high)
	}
	heap := image.R | image.W
	if c.ExecHeap {
		heap |= image.X
	}
	segment := 0
	for i, p := range k.pages[memBase/image.PageSize:] {
		at := memBase + uint64(i)*image.PageSize
		for segment < len(c.Image.Segments) && c.Image.Segments[segment].End <= at {
			segment++
		}
		switch {
		case at >= planBase && at < planBase+planRoom: // room that the plan does not need is not mapped
			if p.from != pageUnmapped && (p.from < 0 || p.prot != image.R|image.W || at-planBase >= 8*wiped) {
				t.Fatalf("%+v at %#x in the plan, of which %d words are wiped", p, at, wiped)
			}
		case p.from == pageUnmapped:
			t.Fatalf("nothing at %#x", at)
		case at < image.MinAddr: // the tender's own
			if p.prot&(image.W|image.X) == image.W|image.X && !c.ExecHeap || p.from >= 0 && at >= lineBase && at < textsBase {
				t.Fatalf("%v at %#x", p.prot, at)
			}
		case segment < len(c.Image.Segments) && at >= c.Image.Segments[segment].Start:
			s := c.Image.Segments[segment]
			data := spec.Segments[slices.IndexFunc(spec.Segments, func(g image.SpecSegment) bool { return g.Vaddr == s.Vaddr })].Data
			if p.prot != s.Prot {
				t.Fatalf("%v at %#x, in a segment of %v", p.prot, at, s.Prot)
			}
			var want [image.PageSize]byte
			for j := range want {
				if n := at + uint64(j) - s.Vaddr; n < uint64(len(data)) { // wraps below Vaddr
					want[j] = data[n]
				}
			}
			if p.from == pageZeroed && want != [image.PageSize]byte{} || p.from >= 0 && !bytes.Equal(want[:], k.elf[p.from:][:image.PageSize]) {
				t.Fatalf("the page at %#x is not that of the segment", at)
			}
		case p.prot != heap || p.from != pageZeroed:
			t.Fatalf("%v at %#x, in the heap", p.prot, at)
		}
	}
}

// checkDescriptors compares what is open with what the guest is told of.
func (k *modelKernel) checkDescriptors(t *testing.T, c *Config, before map[int]*modelFile) {
	t.Helper()
	le := binary.LittleEndian
	boot, err := k.bytes(bootBase, bootInfoSize+uint64(c.Image.Manifest.Size()))
	if err != nil {
		t.Fatal(err)
	}
	own := map[int]string{1: before[1].is, int(le.Uint32(boot[bootEpoll:])): "epoll", int(le.Uint32(boot[bootTimer:])): "timer"}
	for _, d := range c.Devices {
		fd := int(le.Uint32(boot[bootInfoSize+8+104*d.Handle+88:]))
		switch {
		case d.Inherited && fd != d.FD:
			t.Errorf("device %d is descriptor %d, inherited as %d", d.Handle, fd, d.FD)
		case d.Inherited:
			own[fd] = before[fd].is
			kind, now := before[fd].kind, k.fds[fd]
			if reopened := kind == "pipe" || kind == "tty"; kind != "file" && !(reopened && k.noProc) && now.mode&unix.O_NONBLOCK == 0 {
				t.Errorf("device %d, a %s, blocks", d.Handle, kind)
			}
			if kind == "tap" && (!now.settled || now.filtered) {
				t.Errorf("device %d, a tap, is %+v", d.Handle, now)
			}
		case d.Type == image.Net:
			own[fd] = "tap " + d.Path
			if k.fds[fd] == nil || !k.fds[fd].settled {
				t.Errorf("device %d, a tap, is %+v", d.Handle, k.fds[fd])
			}
		default:
			own[fd] = "disk " + d.Path
		}
	}
	if len(own) < 3+len(c.Devices)-1 {
		t.Errorf("descriptors are told of twice: %v", own)
	}
	for n, is := range own {
		if k.fds[n] == nil || k.fds[n].is != is {
			t.Errorf("descriptor %d is %+v, want %s", n, k.fds[n], is)
		}
	}
	// What else is open is only waited for, or stands for standard error.
	data := map[uint64]int{}
	for n, f := range k.fds {
		handle, watched := k.watched[n]
		if watched {
			data[handle]++
		}
		_, told := own[n]
		switch {
		case told:
		case n == 2 && (f.is == "standard 2" && !c.QuietFaults || f.is == "event" && !c.QuietFaults):
		case watched && n > 2:
			i := slices.IndexFunc(c.Devices, func(d device.Device) bool { return uint64(d.Handle) == handle })
			if i < 0 || f.is != "event" && f.is != before[c.Devices[i].FD].is || f.is == "event" && before[c.Devices[i].FD].kind != "file" {
				t.Errorf("descriptor %d, %q, is watched for device %d", n, f.is, handle)
			}
		default:
			t.Errorf("descriptor %d, %q, stays open", n, f.is)
		}
	}
	for _, d := range c.Devices {
		if want := map[bool]int{true: 1}[d.Type == image.Net]; data[uint64(d.Handle)] != want {
			t.Errorf("device %d is watched %d times, want %d", d.Handle, data[uint64(d.Handle)], want)
		}
	}
	if data[timerData] != 1 || len(data) > 1+len(c.Devices) {
		t.Errorf("watched are %v", data)
	}
}

// checkFilter compares the filter with the policy, and the policy's descriptors
// with what they are.
func (k *modelKernel) checkFilter(t *testing.T, c *Config) {
	t.Helper()
	sealed := *c
	p, err := Policy(&sealed)
	if err != nil {
		t.Fatal(err)
	}
	filter, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	for _, i := range filter {
		want = binary.LittleEndian.AppendUint16(want, i.Code)
		want = append(want, i.Jt, i.Jf)
		want = binary.LittleEndian.AppendUint32(want, i.K)
	}
	if !bytes.Equal(k.filter, want) {
		t.Errorf("the filter of %d bytes is not the policy's of %d", len(k.filter), len(want))
	}
	for _, r := range p.Rules {
		if len(r.Conds) == 0 || r.Conds[0].Field != seccomp.Arg0 || r.Nr == unix.SYS_CLOCK_GETTIME || r.Nr == unix.SYS_ARCH_PRCTL {
			continue
		}
		is := map[uint32]string{unix.SYS_EPOLL_PWAIT: "epoll", unix.SYS_TIMERFD_SETTIME: "timer"}[r.Nr]
		f := k.fds[int(r.Conds[0].Value)]
		if f == nil || is != "" && f.is != is || is == "" && slices.Contains([]string{"epoll", "timer", "leak"}, f.is) {
			t.Errorf("%v is of %+v", &r, f)
		}
	}
}
