package spt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/x86"
)

// warmImage has code, constants and variables, and memory besides.
func warmImage(t testing.TB) *Config {
	t.Helper()
	b, err := image.Encode(image.Spec{Target: image.SPT, Version: 2, Entry: 0x100000, Segments: []image.SpecSegment{
		{Vaddr: 0x100000, Data: []byte{0xf4}, Memsz: 0x2000, Prot: image.R | image.X},
		{Vaddr: 0x104000, Data: []byte{1}, Prot: image.R},
		{Vaddr: 0x106000, Data: []byte{1}, Memsz: 0x5000, Prot: image.R | image.W},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.NewReader(b)
	img, err := image.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	return &Config{Guest: device.Guest{Image: img, File: file, Memory: 1<<20 + 64<<12}, Failure: 1}
}

// fuzzWarm makes a snapshot of a fuzzer's bytes: of those that could be, and of others.
func fuzzWarm(b fuzzBytes, contents *bytes.Reader) *Warm {
	w := &Warm{State: make([]byte, x86.AVXOffset), Processor: x86.Processor{States: b.next(1)}}
	r := &w.Registers
	r.RIP, r.Flags, r.CS, r.SS = 0x100000+b.next(3)-b.next(1), 0x202^b.next(3), 0x33^uint16(b.next(1)), 0x2b^uint16(b.next(1))
	r.FSBase = b.next(8)
	binary.LittleEndian.PutUint32(w.State[x86.MXCSROffset:], uint32(b.next(3)))
	binary.LittleEndian.PutUint64(w.State[x86.LegacySize:], b.next(2))
	w.Alarm = [4]uint64{b.next(4), b.next(4), b.next(8), b.next(4)}
	for at := uint64(0); len(b) > 0 && len(w.Memory) < 40; {
		at += b.next(3) << 8
		size := b.next(2) << 8
		w.Memory = append(w.Memory, Range{Addr: at, Size: size, File: contents, Offset: 0})
		at += size
	}
	return w
}

// FuzzSnapshot seals snapshots of all kinds. What is refused is so in one line; what is
// not leaves to the guest the protection of its image, and to gocat what is its own.
func FuzzSnapshot(f *testing.F) {
	f.Add([]byte{7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x1f, 0, 3, 0})
	f.Add(append(make([]byte, 43), 0x10, 1, 0, 0x10, 0, 0xe0, 0x0e, 0, 0x20, 0))
	contents := bytes.NewReader(bytes.Repeat([]byte{0xaa}, 32<<20))
	c := warmImage(f)
	protection := func(addr uint64) image.Prot {
		for _, s := range c.Image.Segments {
			if s.Start <= addr && addr < s.End {
				return s.Prot
			}
		}
		return image.R | image.W
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		own := *c
		own.Warm = fuzzWarm(b, contents)
		var out bytes.Buffer
		if err := Seal(&own, &out); err != nil {
			if out.Len() > 0 || !strings.HasPrefix(err.Error(), "snapshot: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%d bytes, %v", out.Len(), err)
			}
			return
		}
		file, err := elf.NewFile(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		ranges, end := 0, uint64(0)
		for _, p := range file.Progs {
			if p.Type != elf.PT_LOAD {
				continue
			}
			last := p.Vaddr + p.Memsz
			if p.Vaddr < end || p.Vaddr%image.PageSize != 0 || p.Memsz%image.PageSize != 0 || p.Filesz != p.Memsz || p.Off+p.Filesz > uint64(out.Len()) {
				t.Errorf("%+v after %#x", p.ProgHeader, end)
			}
			end = last
			if p.Vaddr < bootBase || p.Vaddr >= textsBase && p.Vaddr < image.MinAddr {
				continue // gocat's own
			}
			ranges++
			for at := p.Vaddr; at < last; at += image.PageSize {
				if image.Prot(p.Flags) != protection(at) {
					t.Errorf("%#x has %v, want %v", at, image.Prot(p.Flags), protection(at))
				}
			}
			if last > textsBase && last <= image.MinAddr || last > c.Memory {
				t.Errorf("%+v reaches into what is gocat's or nobody's", p.ProgHeader)
			}
		}
		r := &own.Warm.Registers
		if ranges != len(own.Warm.Memory) || protection(r.RIP)&image.X == 0 || r.CS != userCS || r.SS != userSS || r.Flags&(1<<8|3<<12|1<<14|1<<17) != 0 {
			t.Errorf("%d ranges of %d, registers %+v", ranges, len(own.Warm.Memory), r)
		}
	})
}
