package spt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/internal/testhost"
)

// dumpSpace runs a guest of 2 MB that dumps [from, to).
func dumpSpace(t *testing.T, u *unikernel, from, to uint64) map[uint64][]byte {
	t.Helper()
	r := u.run(t)
	if r.Status != 0 || r.Stderr != "" {
		t.Fatalf("status %d, stderr %q", r.Status, r.Stderr)
	}
	return parseDump(t, r.Stdout, from, to)
}

func dumpingProbe(t *testing.T, from, to uint64) *unikernel {
	return probe(t, func(p *guests.Probe) { p.Do(p.Execute(guests.N(p.Code(dumper(from, to, guests.Scratch))))) })
}

// TestSpaceFromInside has a guest that walks twice its memory and finds what is
// its own and nothing else.
func TestSpaceFromInside(t *testing.T) {
	const to = 2 * end
	u := dumpingProbe(t, 0, to)
	c := u.sealable(t)
	s, err := newSealed(c, noFile)
	if err != nil {
		t.Fatal(err)
	}
	var planEnd uint64
	for _, p := range s.executable.Parts {
		if p.Addr == planBase {
			planEnd = p.Addr + p.Size()
		}
	}
	dump := dumpSpace(t, u, 0, to)
	for at := uint64(0); at < to; at += image.PageSize {
		page := dump[at]
		if mapped := at >= memBase && at < end && (at < planEnd || at >= planBase+planRoom); mapped != (page != nil) {
			t.Errorf("page %#x: mapped %v, want %v", at, page != nil, mapped)
			continue
		}
		switch {
		case at == stubBase:
			if !bytes.Equal(page, bytes.Join(s.executable.Parts[0].Data, nil)) {
				t.Error("the stub's page has more than the stub")
			}
		case at == bootBase:
			checkBootInfo(t, page, c, s)
		case at >= textsBase && at < textsBase+plan.Pages(uint64(len(allTexts()))):
			off := at - textsBase
			if want := allTexts()[off:]; !bytes.HasPrefix(want, bytes.TrimRight(page, "\x00")) {
				t.Errorf("page %#x of texts is not from the texts", at)
			}
		case at == lineBase:
			if binary.LittleEndian.Uint64(page) != c.Image.Entry || !zeros(page[8:]) {
				t.Errorf("page %#x holds more than the entry: %q", at, page)
			}
		case at >= text && at < guests.Scratch+image.PageSize || at == end-image.PageSize:
			// The image, and the stack with what the probe pushed.
		default:
			if page != nil && !zeros(page) {
				t.Errorf("page %#x is not zero: %q", at, bytes.Trim(page, "\x00"))
			}
		}
	}
	if stack := dump[end-image.PageSize]; stack != nil && !zeros(stack[:image.PageSize-8*40]) {
		t.Error("the stack's page is not zero")
	}
}

func zeros(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// checkBootInfo compares all of boot info's page.
func checkBootInfo(t *testing.T, page []byte, c *Config, s *sealed) {
	t.Helper()
	const manifest = bootBase + bootInfoSize
	cmdline := manifest + uint64(c.Image.Manifest.Size())
	want := make([]byte, 0, image.PageSize)
	for _, w := range []uint64{end, c.Image.End, cmdline, manifest} {
		want = binary.LittleEndian.AppendUint64(want, w)
	}
	want = binary.LittleEndian.AppendUint32(want, 3) // epoll
	want = binary.LittleEndian.AppendUint32(want, 4) // timer
	want = c.Image.Manifest.AppendTo(want)
	want = append(want, c.Args...)
	if !bytes.Equal(page, append(want, make([]byte, image.PageSize-len(want))...)) {
		t.Errorf("boot info: %q, want %q", page, want)
	}
}

// TestEntry has the registers with which the guest starts.
func TestEntry(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		for _, memory := range []uint64{end, 64 << 20, 5 << 30} {
			u := probe(t, func(p *guests.Probe) {
				for r := guests.EntryAX; r <= guests.EntrySP; r++ {
					want := guests.N(0)
					switch r {
					case guests.EntryDI:
						want = guests.N(bootBase)
					case guests.EntrySP:
						want = guests.N(memory - 8)
					case guests.EntryFlags:
						continue
					}
					p.Do(p.Move(p.Entry(r)).Equals(want, 10+uint64(r)))
				}
				p.Do(p.Move(guests.Boot(bootMemSize)).Equals(guests.N(memory), 50))
				p.Do(p.Move(guests.BootAddress()).Equals(guests.N(bootBase), 51))
				p.Do(p.Puts("flags "), p.Syscall(unix.SYS_WRITE, guests.N(1), entryAddress(p, guests.EntryFlags), guests.N(8)))
			})
			u.Memory, u.QuietFaults = memory, quiet
			r := u.run(t)
			flags, ok := strings.CutPrefix(r.Stdout, "flags ")
			if r.Status != 0 || !ok || len(flags) != 8 {
				t.Fatalf("memory %d: status %d, stdout %q, stderr %q", memory, r.Status, r.Stdout, r.Stderr)
			}
			// Of a comparison that was equal, with interrupts enabled.
			if f := binary.LittleEndian.Uint64([]byte(flags)); f != 0x246 {
				t.Errorf("flags %#x", f)
			}
		}
	}
}

// entryAddress is where the probe keeps a register of its entry.
func entryAddress(p *guests.Probe, r guests.EntryReg) guests.Value {
	return guests.N(p.Entry(r).N)
}

// TestEntryVectors has the floating-point state with which the guest starts.
func TestEntryVectors(t *testing.T) {
	u := probe(t, func(p *guests.Probe) {
		save := append(mov(rax, guests.Scratch), 0x48, 0x0f, 0xae, 0x00, 0xc3) // fxsave64 [rax]; ret
		p.Do(p.Execute(guests.N(p.Code(save))))
		p.Do(p.Syscall(unix.SYS_WRITE, guests.N(1), guests.N(guests.Scratch), guests.N(512)))
	})
	r := u.run(t)
	if r.Status != 0 || len(r.Stdout) != 512 {
		t.Fatalf("status %d, %d bytes", r.Status, len(r.Stdout))
	}
	state := []byte(r.Stdout)
	if cw, mxcsr := binary.LittleEndian.Uint16(state), binary.LittleEndian.Uint32(state[24:]); cw != 0x37f || mxcsr != 0x1f80 {
		t.Errorf("x87 control word %#x, MXCSR %#x", cw, mxcsr)
	}
	if !zeros(state[32:416]) {
		t.Errorf("x87 and SSE registers: % x", state[32:416])
	}
}

// TestSpaceFromOutside compares /proc/PID/maps of guests with their memory.
func TestSpaceFromOutside(t *testing.T) {
	for _, memory := range []uint64{end, 512 << 20, 64 << 30} {
		for _, run := range []bool{false, true} {
			r, _ := testhost.Pipe(t)
			u := cat(t, guests.Advanced)
			u.Memory = memory
			c := &testhost.Command{}
			if run {
				c = u.command(t)
			} else {
				c.Path = u.seal(t)
			}
			c.Files = append(c.Files, r, testhost.Null(t), testhost.Memfd(t))
			p := c.Start(t)
			p.WaitAsleep()
			checkMaps(t, testhost.Maps(t, p.Pid), memory)
			p.Signal(unix.SIGKILL)
			p.Wait()
		}
	}
}

func checkMaps(t *testing.T, maps []testhost.Mapping, memory uint64) {
	t.Helper()
	inside := uint64(0)
	for _, m := range maps {
		if m.Name == "[vsyscall]" {
			continue
		}
		inside += m.End - m.Start
		if m.Start < memBase || m.End > memory {
			t.Errorf("%d MB: a mapping outside guest memory: %+v", memory>>20, m)
		}
		if !strings.HasSuffix(m.Prot, "p") {
			t.Errorf("%d MB: a shared mapping: %+v", memory>>20, m)
		}
		if strings.Contains(m.Prot, "wx") {
			t.Errorf("%d MB: writable and executable: %+v", memory>>20, m)
		}
		if executable := strings.Contains(m.Prot, "x"); executable && m.Start != stubBase && m.Start != text {
			t.Errorf("%d MB: executable: %+v", memory>>20, m)
		}
	}
	if inside < memory-memBase-planRoom || inside > memory-memBase {
		t.Errorf("%d MB: %#x bytes are mapped", memory>>20, inside)
	}
}

// TestSegments runs images with segments of every shape and compares all of
// their memory with what they should hold.
func TestSegments(t *testing.T) {
	random := rand.NewChaCha8([32]byte{3})
	data := func(n int) []byte {
		b := make([]byte, n)
		random.Read(b)
		return b
	}
	const rx, r, rw = image.R | image.X, image.R, image.R | image.W
	// The first segment holds the code of the dumper.
	for name, segments := range map[string][]image.SpecSegment{
		"one":            {},
		"odd start":      {{Vaddr: 0x101123, Data: data(77), Prot: r}},
		"page exactly":   {{Vaddr: 0x101000, Data: data(4096), Prot: rw}},
		"one byte over":  {{Vaddr: 0x101000, Data: data(4097), Prot: rw}},
		"across pages":   {{Vaddr: 0x101fff, Data: data(4098), Prot: r}},
		"bss in page":    {{Vaddr: 0x101010, Data: data(100), Memsz: 200, Prot: rw}},
		"bss of pages":   {{Vaddr: 0x101010, Data: data(100), Memsz: 20000, Prot: rw}},
		"bss alone":      {{Vaddr: 0x101010, Memsz: 20000, Prot: rw}},
		"bss at page":    {{Vaddr: 0x101000, Data: data(4096), Memsz: 4097, Prot: rw}},
		"bss of one":     {{Vaddr: 0x101ffe, Data: data(1), Memsz: 2, Prot: rw}},
		"read-only bss":  {{Vaddr: 0x101ffe, Data: data(1), Memsz: 5000, Prot: r}},
		"hole":           {{Vaddr: 0x110000, Data: data(10), Prot: r}, {Vaddr: 0x120800, Data: data(5000), Prot: rw}},
		"adjacent":       {{Vaddr: 0x101000, Data: data(5000), Prot: r}, {Vaddr: 0x103000, Data: data(9000), Memsz: 10000, Prot: rw}},
		"large":          {{Vaddr: 0x101333, Data: data(700001), Prot: r}, {Vaddr: 0x1b0000, Data: data(262144), Prot: rw}},
		"to the end":     {{Vaddr: 0x101000, Data: data(10), Memsz: end - 0x101000, Prot: rw}},
		"second of code": {{Vaddr: 0x101000, Data: data(100), Prot: rx}, {Vaddr: 0x102000, Data: data(5000), Prot: rx}},
	} {
		t.Run(name, func(t *testing.T) {
			code := dumper(text, end, lineBase)
			spec := image.Spec{Target: image.SPT, Version: 2, Entry: text}
			spec.Segments = append([]image.SpecSegment{{Vaddr: text, Data: code, Prot: rx}}, segments...)
			b, err := image.Encode(spec)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, end)
			for _, s := range spec.Segments {
				copy(want[s.Vaddr:], s.Data)
			}
			dump := dumpSpace(t, &unikernel{Image: b}, text, end)
			for at := uint64(text); at < end; at += image.PageSize {
				if !bytes.Equal(dump[at], want[at:at+image.PageSize]) {
					t.Errorf("page %#x differs (mapped: %v)", at, dump[at] != nil)
				}
			}
		})
	}
}

// TestAlignment has an image whose segments are aligned to more than a page: the
// rounding belongs to the segment. The last one is read-only to the end of memory.
func TestAlignment(t *testing.T) {
	spec := image.Spec{Target: image.SPT, Version: 2, Entry: 0x204000, Segments: []image.SpecSegment{
		{Vaddr: 0x204000, Data: dumper(0x100000, 0x600000, lineBase), Prot: image.R | image.X},
		{Vaddr: 0x400000, Data: []byte("data"), Memsz: 0x5000, Prot: image.R},
	}}
	b, err := image.Encode(spec)
	if err != nil {
		t.Fatal(err)
	}
	const phdrs, phdrSize, phnum, align = 64, 56, 56, 48 // of ELF64
	for i := range int(binary.LittleEndian.Uint16(b[phnum:])) {
		if p := b[phdrs+phdrSize*i:]; binary.LittleEndian.Uint32(p) == uint32(elf.PT_LOAD) {
			binary.LittleEndian.PutUint64(p[align:], 0x200000)
		}
	}
	u := &unikernel{Image: b, Memory: 6 << 20}
	dump := dumpSpace(t, u, 0x100000, 0x600000)
	want := make([]byte, u.Memory)
	for _, s := range spec.Segments {
		copy(want[s.Vaddr:], s.Data)
	}
	for at, page := range dump {
		if !bytes.Equal(page, want[at:at+image.PageSize]) {
			t.Errorf("page %#x differs (mapped: %v)", at, page != nil)
		}
	}
}

// TestSpaceAtKnownPlaces has a guest that walks where a process without
// randomisation has its stack, its vdso and its mappings: all is gone.
func TestSpaceAtKnownPlaces(t *testing.T) {
	testhost.Personality(t, testhost.FixedLayout, func() {
		// Where they are, from a process that is yet to run its plan.
		p := trace(t, probe(t, func(*guests.Probe) {}).seal(t))
		var before []testhost.Mapping
		for _, m := range testhost.Maps(t, p.pid) {
			if m.Start >= end && m.Name != "[vsyscall]" {
				before = append(before, m)
			}
		}
		p.end()
		if len(before) == 0 {
			t.Fatal("a new process has no stack")
		}
		from := before[0].Start - 16<<20
		walks := [][2]uint64{{from, taskEnd}, {0x555555554000, 0x555555554000 + 16<<20}}
		if before[0].Start < taskEnd-1<<30 || before[len(before)-1].End != taskEnd {
			t.Fatalf("mappings of a new process without randomisation: %+v", before)
		}
		for _, w := range walks {
			for at, page := range dumpSpace(t, dumpingProbe(t, w[0], w[1]), w[0], w[1]) {
				if page != nil {
					t.Errorf("page %#x is mapped", at)
				}
			}
		}
	})
}

// TestPageZero has a caller whose processes have page zero mapped. A kernel that
// will not unmap it leaves nothing to run a guest in.
func TestPageZero(t *testing.T) {
	testhost.Personality(t, testhost.PageZero, func() {
		u := probe(t, func(p *guests.Probe) { p.Do(p.Load8(guests.N(0)), p.Puts(alive)) })
		path := u.seal(t)
		p := trace(t, path)
		zero := testhost.Maps(t, p.pid)[0].Start == 0
		sealed := zero && p.call(unix.SYS_MUNMAP, 0, image.PageSize) != 0
		p.end()
		if !zero {
			testhost.Skip(t, "this kernel maps no page zero for this user")
		}
		c := testhost.Command{Path: path}
		if sealed {
			check(t, c.Run(t), 1, "", "gocat: could not unmap page zero, which personality MMAP_PAGE_ZERO asks for: operation not permitted: munmap, which a seccomp filter around gocat may refuse\n")
		} else if r := c.Run(t); r.Status != 139 || r.Stdout != "" {
			t.Errorf("%+v", r)
		}
	})
}
