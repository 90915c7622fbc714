package spt

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
)

// TestSealedELF reads sealed executables as any other ELF program is read.
func TestSealedELF(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		u := cat(t, guests.Advanced)
		u.QuietFaults = quiet
		var b bytes.Buffer
		c := u.sealable(t)
		if err := Seal(c, &b); err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(b.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		code, _ := stubCode()
		if f.Type != elf.ET_EXEC || f.Machine != elf.EM_X86_64 || f.Entry != stubBase+uint64(len(code)) {
			t.Errorf("%v", f.FileHeader)
		}
		last := uint64(memBase)
		for _, p := range f.Progs {
			switch p.Type {
			case elf.PT_GNU_STACK:
				if p.Flags&elf.PF_X != 0 {
					t.Error("the stack is executable")
				}
			case elf.PT_LOAD:
				if p.Vaddr < last || p.Vaddr%image.PageSize != 0 || p.Off%image.PageSize != 0 || p.Filesz%image.PageSize != 0 ||
					p.Filesz != p.Memsz || p.Off+p.Filesz > uint64(b.Len()) {
					t.Errorf("%+v after %#x", p.ProgHeader, last)
				}
				if p.Flags&elf.PF_W != 0 && p.Flags&elf.PF_X != 0 {
					t.Errorf("writable and executable: %+v", p.ProgHeader)
				}
				last = p.Vaddr + p.Memsz
			default:
				t.Errorf("%+v", p.ProgHeader)
			}
		}
		if last > c.Memory {
			t.Errorf("segments end at %#x", last)
		}
		var again bytes.Buffer
		if err := Seal(c, &again); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
			t.Errorf("sealed twice: %v, equal %v", err, bytes.Equal(b.Bytes(), again.Bytes()))
		}
	}
}

// limitedWriter fails after so many bytes.
type limitedWriter int

var errFull = errors.New("full")

func (w *limitedWriter) Write(b []byte) (int, error) {
	n := min(len(b), int(*w))
	*w -= limitedWriter(n)
	if n < len(b) {
		return n, errFull
	}
	return n, nil
}

// TestSealErrors has what can go wrong while sealing.
func TestSealErrors(t *testing.T) {
	u := cat(t, guests.Advanced)
	var whole bytes.Buffer
	if err := Seal(u.sealable(t), &whole); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < whole.Len(); n += 1000 {
		w := limitedWriter(n)
		if err := Seal(u.sealable(t), &w); !errors.Is(err, errFull) {
			t.Errorf("a writer that takes %d bytes: %v", n, err)
		}
	}

	// The image was truncated after it was parsed.
	for _, n := range []int{0, 64, 4096, len(u.Image) / 2, len(u.Image) - 1} {
		c := u.sealable(t)
		c.File = bytes.NewReader(u.Image[:n])
		err := Seal(c, io.Discard)
		if err == nil || !strings.Contains(err.Error(), "segment") || strings.Contains(err.Error(), "\n") {
			t.Errorf("an image of %d bytes: %v", n, err)
		}
	}
}

// TestPlanFits seals guests with as many devices as there can be, of every kind.
func TestPlanFits(t *testing.T) {
	disk := strings.Repeat("x", 4000) // the longest path there is, nearly
	for _, kind := range []string{"inherited", "tap", "block"} {
		m := image.Manifest{{Type: image.Reserved}}
		c := &Config{Guest: device.Guest{Memory: end, Args: strings.Repeat("a", MaxArgs)}, Failure: 1}
		for i := 1; i < image.MaxEntries; i++ {
			name := strings.Repeat("n", image.MaxName-3) + fmt.Sprintf("%03d", i)
			d := device.Device{Handle: i, Name: name, Type: image.Net, FD: -1, Path: "tap12345678901"}
			switch kind {
			case "inherited":
				d.FD, d.Inherited = 2+i, true
			case "block":
				d.Type, d.Path, d.BlockSize, d.Capacity = image.Block, disk, 512, 1<<40
			}
			m = append(m, image.Entry{Name: name, Type: d.Type})
			c.Devices = append(c.Devices, d)
		}
		spec := image.Spec{Target: image.SPT, Version: 2, Entry: text, Manifest: m,
			Segments: []image.SpecSegment{{Vaddr: text, Data: []byte{0xf4}, Prot: image.R | image.X}}}
		b, err := image.Encode(spec)
		if err != nil {
			t.Fatal(err)
		}
		file := bytes.NewReader(b)
		if c.Image, err = image.Parse(file); err != nil {
			t.Fatal(err)
		}
		c.File = file
		var out bytes.Buffer
		err = Seal(c, &out)
		if err != nil && (kind != "block" || !strings.Contains(err.Error(), "attach fewer devices")) {
			t.Errorf("%s: %v", kind, err)
		}
		t.Logf("%s: %d bytes, %v", kind, out.Len(), err)
	}
}

// TestConfigRefused has configurations that are not complete: each is an error,
// and nothing is written.
func TestConfigRefused(t *testing.T) {
	for _, c := range []*Config{{}, {Guest: device.Guest{File: bytes.NewReader(nil)}}, {Guest: device.Guest{Image: &image.Image{Target: image.HVT}, File: bytes.NewReader(nil)}}} {
		var out bytes.Buffer
		_, policy := Policy(c)
		for name, err := range map[string]error{"Run": Run(c), "Seal": Seal(c, &out), "Policy": policy} {
			if err == nil {
				t.Errorf("%s takes %+v", name, c)
			}
		}
		if out.Len() > 0 {
			t.Errorf("%+v: %d bytes are written", c, out.Len())
		}
	}
}
