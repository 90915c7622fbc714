package image

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// hello is a small spec with one segment of each kind.
func hello(target Target) Spec {
	return Spec{
		Target:  target,
		Version: 2,
		Entry:   0x100010,
		Segments: []SpecSegment{
			{Vaddr: 0x100000, Data: bytes.Repeat([]byte{0xf4}, 5000), Prot: R | X},
			{Vaddr: 0x102000, Data: []byte("constants"), Prot: R},
			{Vaddr: 0x103010, Data: []byte("variables"), Memsz: 0x2000, Prot: R | W},
			{Vaddr: 0x106000, Memsz: 0x1234, Prot: R | W},
		},
		Manifest: Manifest{
			{Type: Reserved},
			{Name: "stdin", Type: Net},
			{Name: "disk0", Type: Block},
			{Name: "stdin", Type: Block},
		},
	}
}

func mustEncode(t testing.TB, s Spec) []byte {
	t.Helper()
	b, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkInvariants asserts what the users of a parsed image rely on.
func checkInvariants(t testing.TB, file []byte, m *Image) {
	t.Helper()
	last, inX := uint64(MinAddr), false
	for _, s := range m.Segments {
		switch {
		case s.Start%PageSize != 0 || s.End%PageSize != 0:
			t.Fatalf("segment not page-aligned: %+v", s)
		case s.Start < last || s.End <= s.Start:
			t.Fatalf("segment out of order after %#x: %+v", last, s)
		case s.Vaddr < s.Start || s.Memsz == 0 || s.Memsz > s.End-s.Vaddr || s.Filesz > s.Memsz:
			t.Fatalf("segment's content outside its range: %+v", s)
		case s.Filesz > 0 && (s.Offset > uint64(len(file)) || s.Filesz > uint64(len(file))-s.Offset):
			t.Fatalf("segment's content outside the file of %d bytes: %+v", len(file), s)
		case s.Prot&(W|X) == W|X || s.Prot&^(R|W|X) != 0:
			t.Fatalf("segment's protection: %+v", s)
		}
		inX = inX || s.Prot&X != 0 && s.Start <= m.Entry && m.Entry < s.End
		last = s.End
	}
	if m.End != last || len(m.Segments) == 0 || len(m.Segments) > maxPhdrs {
		t.Fatalf("image ends at %#x, its last segment at %#x", m.End, last)
	}
	if m.Fault != 0 && !m.within(m.Fault, 1, X) {
		t.Fatalf("fault handler %#x not executable", m.Fault)
	}
	if m.Timer != 0 && !m.within(m.Timer, TimerSize, W) {
		t.Fatalf("timer words %#x not writable", m.Timer)
	}
	if !inX {
		t.Fatalf("entry %#x not executable", m.Entry)
	}
	if m.Target != HVT && m.Target != SPT || m.Version != 1 && m.Version != 2 {
		t.Fatalf("target %v, version %d", m.Target, m.Version)
	}
	if m.CheckMemory(m.End) != nil || m.CheckMemory(m.End-1) == nil {
		t.Fatalf("CheckMemory disagrees with end %#x", m.End)
	}
	checkManifest(t, m.Manifest)
}

// checkManifest asserts the rules of a parsed manifest, and that it survives a
// round trip.
func checkManifest(t testing.TB, m Manifest) {
	t.Helper()
	if len(m) < 1 || len(m) > MaxEntries || m[0] != (Entry{Type: Reserved}) {
		t.Fatalf("manifest %+v", m)
	}
	for _, e := range m[1:] {
		if len(e.Name) > MaxName || !alphanumeric(e.Name) || e != (Entry{Name: e.Name, Type: e.Type}) {
			t.Fatalf("manifest entry %+v", e)
		}
	}
	b := m.AppendTo(nil)
	if len(b) != m.Size() {
		t.Fatalf("AppendTo wrote %d bytes, Size is %d", len(b), m.Size())
	}
	again, err := ParseManifest(b)
	if err != nil || !reflect.DeepEqual(again, m) {
		t.Fatalf("manifest %+v became %+v, %v", m, again, err)
	}
}

func TestRoundTrip(t *testing.T) {
	for _, target := range []Target{HVT, SPT} {
		spec := hello(target)
		spec.Fault, spec.Timer = spec.Entry, 0x108000-TimerSize
		b := mustEncode(t, spec)
		if !bytes.Equal(b, mustEncode(t, spec)) {
			t.Fatal("Encode is not deterministic")
		}
		m, err := Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		checkInvariants(t, b, m)
		if m.Target != target || m.Version != 2 || m.Entry != spec.Entry || m.Fault != spec.Fault || m.Timer != spec.Timer || m.End != 0x108000 {
			t.Errorf("parsed %+v", m)
		}
		if !reflect.DeepEqual(m.Manifest, spec.Manifest) {
			t.Errorf("manifest %+v, expected %+v", m.Manifest, spec.Manifest)
		}
		if len(m.Segments) != len(spec.Segments) {
			t.Fatalf("%d segments, expected %d", len(m.Segments), len(spec.Segments))
		}
		for i, s := range m.Segments {
			want := spec.Segments[i]
			if s.Vaddr != want.Vaddr || s.Prot != want.Prot || !bytes.Equal(b[s.Offset:][:s.Filesz], want.Data) {
				t.Errorf("segment %d: %+v", i, s)
			}
			if s.Filesz > 0 && (s.Offset-s.Vaddr)%PageSize != 0 {
				t.Errorf("segment %d: offset %#x not congruent to address %#x", i, s.Offset, s.Vaddr)
			}
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	text := SpecSegment{Vaddr: 0x100000, Data: []byte{0xf4}, Prot: R | X}
	many := make([]SpecSegment, maxPhdrs-3)
	for i := range many {
		many[i] = text
	}
	tests := []struct {
		name string
		spec Spec
	}{
		{"no segments", Spec{}},
		{"too many segments", Spec{Segments: many}},
		{"empty segment", Spec{Segments: []SpecSegment{text, {Vaddr: 0x200000}}}},
		{"less memory than data", Spec{Segments: []SpecSegment{{Vaddr: 0x100000, Data: []byte("ab"), Memsz: 1}}}},
		{"long name", Spec{Segments: many[:1], Manifest: Manifest{{}, {Name: string(make([]byte, 68))}}}},
		{"NUL in name", Spec{Segments: many[:1], Manifest: Manifest{{}, {Name: "a\x00b"}}}},
		{"65 entries", Spec{Segments: many[:1], Manifest: make(Manifest, 65)}},
	}
	for _, tt := range tests {
		if b, err := Encode(tt.spec); err == nil {
			t.Errorf("%s: wrote %d bytes", tt.name, len(b))
		}
	}
}

func TestCheckMemory(t *testing.T) {
	tests := []struct {
		end, size uint64
		want      string // "" when it fits
		need      uint64
	}{
		{0x200000, 2 * MB, "", 0},
		{0x200001, 2 * MB, "image ends at 0x200001, past the guest's memory of 2 MB", 4 * MB},
		{0x380000, 2 * MB, "image ends at 0x380000, past the guest's memory of 2 MB", 4 * MB},
		{0x381000, 2 * MB, "image ends at 0x381000, past the guest's memory of 2 MB", 6 * MB},
		{0x381000, 0x180000, "image ends at 0x381000, past the guest's memory of 1.50 MB", 6 * MB},
		{1 << 40, 1024 * MB, "image ends at 0x10000000000, past the guest's memory of 1024 MB", 1048578 * MB},
		{1<<64 - PageSize, 512 * MB, "image ends at 0xfffffffffffff000, which no guest memory reaches: the guest has 512 MB", 0},
	}
	for _, tt := range tests {
		got := ""
		var e *MemoryError
		if errors.As((&Image{End: tt.end}).CheckMemory(tt.size), &e) {
			got = e.Error()
			if e.Need != tt.need {
				t.Errorf("end %#x, memory %#x: need %d, expected %d", tt.end, tt.size, e.Need, tt.need)
			}
		}
		if got != tt.want {
			t.Errorf("end %#x, memory %#x: %q, expected %q", tt.end, tt.size, got, tt.want)
		}
	}
}

func TestStrings(t *testing.T) {
	for want, got := range map[string]string{
		"hvt": HVT.String(), "spt": SPT.String(), "virtio": Target(3).String(), "unknown target 9": Target(9).String(),
		"BLOCK_BASIC": Block.String(), "NET_BASIC": Net.String(), "RESERVED_FIRST": Reserved.String(),
		"unknown type 3": DeviceType(3).String(),
		"---":            Prot(0).String(), "r-x": (R | X).String(), "rw-": (R | W).String(), "--x": X.String(),
	} {
		if got != want {
			t.Errorf("String is %q, expected %q", got, want)
		}
	}
}
