package kvmhvt

import (
	"encoding/binary"
	"strings"
	"testing"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/x86"
)

// warmConfig is a guest of code, constants and variables, and its layout.
func warmConfig(t testing.TB) (*Config, *layout) {
	t.Helper()
	img := &image.Image{Target: image.HVT, Version: 2, Entry: image.MinAddr, End: 0x108000, Segments: []image.Segment{
		{Start: 0x100000, End: 0x102000, Vaddr: 0x100000, Memsz: 0x2000, Prot: image.R | image.X},
		{Start: 0x104000, End: 0x108000, Vaddr: 0x104000, Memsz: 0x4000, Prot: image.R | image.W},
	}}
	l, err := newLayout(img, 4<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &Config{Guest: device.Guest{Image: img}, CPL: 3}, l
}

// wellWarm is what a guest of warmConfig can have come to, as a file has it.
func wellWarm() *Warm {
	s := &State{Hz: 1e9, Poll: 0x104000, States: x86.StateFPU | x86.StateSSE | x86.StateAVX}
	r := generalOf(s)
	r.rip, r.rflags = 0x100010, userFlags(0)
	return &Warm{State: s, Memory: []Range{{0x100000, 0x1000}, {0x104000, 0x2000}}, Contents: make([]byte, 0x3000)}
}

// decoded encodes and decodes w.
func decoded(t *testing.T, w *Warm) *Warm {
	t.Helper()
	got, err := DecodeWarm(append(EncodeWarm(w), w.Contents...))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestWarmChecked has snapshots that no guest can have come to. Each has one field that is
// wrong.
func TestWarmChecked(t *testing.T) {
	c, l := warmConfig(t)
	if err := decoded(t, wellWarm()).check(c, l); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	const hole = 1 << 47 // the first address that is none
	for name, test := range map[string]struct {
		change func(*Warm, *State, *regs)
		says   string
	}{
		"rip":        {func(_ *Warm, _ *State, r *regs) { r.rip = hole }, "which is no address"},
		"trap flag":  {func(_ *Warm, _ *State, r *regs) { r.rflags |= flagNT }, "which no guest has"},
		"interrupts": {func(_ *Warm, _ *State, r *regs) { r.rflags |= flagIF }, "which no guest has"},
		"level":      {func(_ *Warm, _ *State, r *regs) { r.rflags &^= flagIOPL3 }, "which no guest has"},
		"virtual":    {func(_ *Warm, _ *State, r *regs) { r.rflags |= 1 << 17 }, "which no guest has"},
		"fs":         {func(_ *Warm, s *State, _ *regs) { s.FSBase = hole }, "a segment's base"},
		"gs":         {func(_ *Warm, s *State, _ *regs) { s.GSBase = hole }, "a segment's base"},
		"kernel gs":  {func(_ *Warm, s *State, _ *regs) { s.KernelGSBase = hole }, "a segment's base"},
		"gdt":        {func(_ *Warm, s *State, _ *regs) { s.GDTLimit = 0x10000 }, "too large"},
		"idt":        {func(_ *Warm, s *State, _ *regs) { s.IDTEnd = 0x10000 }, "too large"},
		"tr":         {func(_ *Warm, s *State, _ *regs) { s.TR = 1 << 40 }, "too large"},
		"poll code":  {func(_ *Warm, s *State, _ *regs) { s.Poll = 0x100000 }, "which it cannot write"},
		"poll end":   {func(_ *Warm, s *State, _ *regs) { s.Poll = 4<<20 - 8 }, "which it cannot write"},
		"poll boot":  {func(_ *Warm, s *State, _ *regs) { s.Poll = bootInfoAddr }, "which it cannot write"},
		"no hz":      {func(_ *Warm, s *State, _ *regs) { s.Hz = 0 }, "a time that is none"},
		"hz":         {func(_ *Warm, s *State, _ *regs) { s.Hz = 1 << 60 }, "a time that is none"},
		"wall":       {func(_ *Warm, s *State, _ *regs) { s.Wall = 1<<64 - 1 }, "a time that is none"},
		"mxcsr":      {func(_ *Warm, s *State, _ *regs) { s.Extended[x86.MXCSROffset+2] = 1 }, "is damaged"},
		"header":     {func(_ *Warm, s *State, _ *regs) { s.Extended[x86.LegacySize+8] = 1 }, "is damaged"},
		"compact":    {func(_ *Warm, s *State, _ *regs) { s.Extended[x86.LegacySize+15] = 0x80 }, "is damaged"},
		"tail":       {func(_ *Warm, s *State, _ *regs) { s.Extended[xsaveSize-1] = 1 }, "is damaged"},
		"keys":       {func(_ *Warm, s *State, _ *regs) { s.Extended[x86.LegacySize+1] = 2 }, "is damaged"},
		"avx-512":    {func(_ *Warm, s *State, _ *regs) { s.Extended[x86.LegacySize] = 1 << 5 }, "did not have"},
		"low":        {func(w *Warm, _ *State, _ *regs) { w.Memory[0].Addr = bootInfoAddr }, "not pages in order"},
		"order":      {func(w *Warm, _ *State, _ *regs) { w.Memory[1].Addr = 0x100000 }, "not pages in order"},
		"empty":      {func(w *Warm, _ *State, _ *regs) { w.Memory[0].Size = 0 }, "not pages in order"},
		"part":       {func(w *Warm, _ *State, _ *regs) { w.Memory[0].Size++ }, "not pages in order"},
		"past":       {func(w *Warm, _ *State, _ *regs) { w.Memory[1].Addr = 4<<20 - 0x1000 }, "none of the guest's"},
		"system":     {func(w *Warm, _ *State, _ *regs) { w.Memory[1].Addr = 4 << 20 }, "none of the guest's"},
		"wraps":      {func(w *Warm, _ *State, _ *regs) { w.Memory[1].Addr = 1<<64 - 0x1000 }, "none of the guest's"},
		"short":      {func(w *Warm, _ *State, _ *regs) { w.Memory[1].Size = 0x3000 }, "are there"},
	} {
		w := wellWarm()
		test.change(w, w.State, generalOf(w.State))
		if err := decoded(t, w).check(c, l); err == nil || !strings.HasPrefix(err.Error(), "snapshot: ") || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.CPL = 0
	if err := wellWarm().check(c, l); err != ErrWarmLevel {
		t.Errorf("level 0: %v", err)
	}
}

// TestWarmDevices attaches devices other than those that the guest has read of.
func TestWarmDevices(t *testing.T) {
	was := image.Manifest{{}, {Name: "disk", Type: image.Block, Capacity: 8192, BlockSize: 512}, {Name: "net", Type: image.Net, MAC: [6]byte{2}, MTU: 1500}}
	w := wellWarm()
	for i := range was {
		w.State.Devices[i] = described(&was[i])
	}
	for says, change := range map[string]func(image.Manifest){
		"":                             func(image.Manifest) {},
		"'disk' holds 4096 bytes":      func(m image.Manifest) { m[1].Capacity = 4096 },
		"'disk' has blocks of 4096":    func(m image.Manifest) { m[1].BlockSize = 4096 },
		"'net' has an MTU of 9000":     func(m image.Manifest) { m[2].MTU = 9000 },
		"MAC address 030000000000":     func(m image.Manifest) { m[2].MAC[0] = 3 },
		"guest has found 020000000000": func(m image.Manifest) { m[2].MAC[5] = 1 },
	} {
		now := append(image.Manifest{}, was...)
		change(now)
		if err := w.checkDevices(now); (err != nil) != (says != "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", says, err)
		}
	}
}

// FuzzWarm decodes files of all kinds. What is not refused, in one line, has memory of the
// guest's own, flags and addresses of a guest at level 3, and contents for every page.
func FuzzWarm(f *testing.F) {
	good := append(EncodeWarm(wellWarm()), wellWarm().Contents...)
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{0, 0, 1, 2, 3, 4, 5, 6, 7, 8}, uint16(0x1000))
	const _ = uint(3*256+47-stateSize/8) + uint(stateSize/8-3*256-47)
	f.Add([]byte{47, 3, 0, 0, 0, 0, 1, 0, 0, 0}, uint16(0)) // a range past all memory
	c, l := warmConfig(f)
	// changes are numbers of words, of 16 bits, and what they become.
	f.Fuzz(func(t *testing.T, changes []byte, cut uint16) {
		b := append([]byte{}, good[:len(good)-int(cut)%len(good)]...)
		for ; len(changes) >= 10; changes = changes[10:] {
			if at := int(binary.LittleEndian.Uint16(changes)) * 8; at+8 <= len(b) {
				copy(b[at:], changes[2:10])
			}
		}
		w, err := DecodeWarm(b)
		if err == nil {
			err = w.check(c, l)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "snapshot: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			return
		}
		s, end, size := w.State, uint64(minBase), uint64(0)
		for _, r := range w.Memory {
			if r.Addr < end || r.Size == 0 || (r.Addr|r.Size)%image.PageSize != 0 || r.Size > l.total || r.Addr+r.Size > l.total {
				t.Errorf("%+v after %#x", r, end)
			}
			end, size = r.Addr+r.Size, size+r.Size
		}
		r := generalOf(s)
		const never = flagIF | flagNT | 1<<17 | 1<<19 | 1<<20 // VM, VIF, VIP
		if size > uint64(len(w.Contents)) || r.rflags&never != 0 || r.rflags&flagIOPL3 != flagIOPL3 || r.rflags>>32 != 0 {
			t.Errorf("%d bytes of %d, flags %#x", len(w.Contents), size, r.rflags)
		}
		for _, a := range []uint64{r.rip, s.FSBase, s.GSBase, s.KernelGSBase} {
			if top := int64(a) >> 47; top != 0 && top != -1 {
				t.Errorf("%#x is no address", a)
			}
		}
		if s.Poll < 0x102000 || s.Poll > l.size-pollSize {
			t.Errorf("it waits at %#x", s.Poll)
		}
	})
}
