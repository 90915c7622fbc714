package image

import (
	"bytes"
	"strings"
	"testing"

	"gocat/internal/abi"
)

// rawEntry is a struct mft_entry as an image carries it.
func rawEntry(name string, typ DeviceType) []byte {
	b := make([]byte, abi.EntrySize)
	copy(b, name)
	le.PutUint32(b[abi.EntryType:], uint32(typ))
	return b
}

func rawManifest(version, n uint32, entries ...[]byte) []byte {
	b := le.AppendUint32(nil, version)
	b = le.AppendUint32(b, n)
	return append(b, bytes.Join(entries, nil)...)
}

func TestParseManifest(t *testing.T) {
	first := rawEntry("", Reserved)
	attached := rawEntry("a", Net)
	attached[abi.EntryAttached] = 1
	odd := rawEntry("a", Net)
	odd[abi.EntryAttached] = 0x80
	garbage := rawEntry("a\x00\xff\xff", Block)
	copy(garbage[abi.EntryCapacity:abi.EntryAttached], bytes.Repeat([]byte{0xaa}, 24))
	long := strings.Repeat("n", MaxName)
	var many [][]byte
	for i := range MaxEntries {
		many = append(many, rawEntry(strings.Repeat("m", i), Net))
	}
	many[0] = first

	tests := []struct {
		name string
		in   []byte
		want string // in the error; "" when it parses
	}{
		{"nothing", nil, "0 bytes, fewer than its header's 8"},
		{"short header", make([]byte, 7), "7 bytes, fewer than its header's 8"},
		{"version 0", rawManifest(0, 1, first), "version 0, expected 1"},
		{"version 2", rawManifest(2, 1, first), "version 2, expected 1"},
		{"no entries", rawManifest(1, 0), "0 entries, expected 1 to 64"},
		{"65 entries", rawManifest(1, 65, append(many, rawEntry("z", Net))...), "65 entries, expected 1 to 64"},
		{"2^32-1 entries", rawManifest(1, 1<<32-1, first), "4294967295 entries, expected 1 to 64"},
		{"short", rawManifest(1, 2, first), "112 bytes, expected 216 for 2 entries"},
		{"one byte short", rawManifest(1, 1, first[:abi.EntrySize-1]), "111 bytes, expected 112 for 1 entries"},
		{"one byte long", append(rawManifest(1, 1, first), 0), "113 bytes, expected 112 for 1 entries"},
		{"first not reserved", rawManifest(1, 1, rawEntry("", Net)), "entry 0: the first entry must be RESERVED_FIRST"},
		{"first with a name", rawManifest(1, 1, rawEntry("a", Reserved)), "entry 0: the first entry must be RESERVED_FIRST"},
		{"second reserved", rawManifest(1, 2, first, first), "entry 1: RESERVED_FIRST (0x40000000), expected BLOCK_BASIC or NET_BASIC"},
		{"type 0", rawManifest(1, 2, first, rawEntry("a", 0)), "entry 1: unknown type 0 (0x0)"},
		{"type 3", rawManifest(1, 2, first, rawEntry("a", 3)), "entry 1: unknown type 3 (0x3)"},
		{"no name", rawManifest(1, 2, first, rawEntry("", Net)), `entry 1: name "", expected`},
		{"punctuation", rawManifest(1, 2, first, rawEntry("a-b", Net)), `entry 1: name "a-b", expected`},
		{"escape sequence", rawManifest(1, 2, first, rawEntry("\x1b[2J", Net)), `entry 1: name "\x1b[2J", expected`},
		{"not ASCII", rawManifest(1, 2, first, rawEntry("é", Net)), `entry 1: name "é", expected`},
		{"68 bytes", rawManifest(1, 2, first, rawEntry(long+"n", Net)), "entry 1: name is not terminated within 68 bytes"},
		{"last byte", rawManifest(1, 2, first, rawEntry("a"+strings.Repeat("\x00", 66)+"b", Net)), "entry 1: name is not terminated"},
		{"attached", rawManifest(1, 2, first, attached), "entry 1: already attached"},
		{"attached, not a C bool", rawManifest(1, 2, first, odd), "entry 1: already attached"},
		{"declared twice", rawManifest(1, 3, first, rawEntry("a", Net), rawEntry("a", Net)), `entry 2: NET_BASIC "a" is already declared by entry 1`},

		{"reserved alone", rawManifest(1, 1, first), ""},
		{"64 entries", rawManifest(1, 64, many...), ""},
		{"67 bytes", rawManifest(1, 2, first, rawEntry(long, Block)), ""},
		{"one name, two types", rawManifest(1, 3, first, rawEntry("a", Net), rawEntry("a", Block)), ""},
		{"garbage in the tender's fields", rawManifest(1, 2, first, garbage), ""},
	}
	for _, tt := range tests {
		m, err := ParseManifest(tt.in)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			checkManifest(t, m)
			continue
		}
		if err == nil {
			t.Errorf("%s: parsed as %+v", tt.name, m)
			continue
		}
		if msg := err.Error(); !strings.HasPrefix(msg, "Solo5 manifest is invalid: ") || !strings.Contains(msg, tt.want) {
			t.Errorf("%s: error %q, expected %q", tt.name, msg, tt.want)
		}
	}
}

// TestAppendTo checks the layout against bytes written out from mft_abi.h.
func TestAppendTo(t *testing.T) {
	m := Manifest{
		{Type: Reserved},
		{Name: "net0", Type: Net, MAC: [6]byte{2, 3, 4, 5, 6, 7}, MTU: 0x1234, HostFD: 0x0a0b0c0d, Attached: true},
		{Name: "b", Type: Block, Capacity: 0x1122334455667788, BlockSize: 0x200, HostFD: -1, Attached: true},
	}
	want := make([]byte, 8+3*104)
	copy(want, "\x01\x00\x00\x00\x03\x00\x00\x00")
	copy(want[8+68:], "\x00\x00\x00\x40")
	e := want[8+104:]
	copy(e, "net0")
	copy(e[68:], "\x02\x00\x00\x00\x02\x03\x04\x05\x06\x07\x34\x12")
	copy(e[88:], "\x0d\x0c\x0b\x0a")
	e[96] = 1
	e = want[8+2*104:]
	copy(e, "b")
	copy(e[68:], "\x01\x00\x00\x00\x88\x77\x66\x55\x44\x33\x22\x11\x00\x02")
	copy(e[88:], "\xff\xff\xff\xff")
	e[96] = 1

	got := m.AppendTo([]byte("before"))
	if !bytes.Equal(got, append([]byte("before"), want...)) {
		t.Errorf("AppendTo wrote\n%x, expected\n%x", got, want)
	}
	if m.Size() != len(want) {
		t.Errorf("Size is %d, expected %d", m.Size(), len(want))
	}
	cut := Manifest{{Name: strings.Repeat("x", 500), Type: Net}}.AppendTo(nil)
	if len(cut) != 8+104 || cut[8+66] != 'x' || cut[8+67] != 0 || cut[8+68] != 2 {
		t.Errorf("a long name gave %x", cut)
	}
}
