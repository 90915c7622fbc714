package e2e

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"gocat/internal/testhost"
	"gocat/internal/x86"
	"gocat/kvmhvt"
)

// TestWarmAltered alters the state in the executable of a warm hvt guest. What no guest can
// have come to is refused in one line; what one can, ends the guest as its own doing would.
// Nothing gets it another privilege level, or memory that is not its own.
func TestWarmAltered(t *testing.T) {
	needKVM(t, "hvt")
	// The cat knows nothing of its clones, and so the clocks are checked.
	data := read(t, warm(t, "--warm", "--backend=hvt", "--mem=4"))
	at := bytes.LastIndex(data, []byte("WARMHVT2"))
	if at < 0 || at%4096 != 0 {
		t.Fatalf("no state, or at %#x", at)
	}
	var s kvmhvt.State
	const (
		rip, rflags = 8 * 16, 8 * 17
		shim        = 0x7f_c000_0400 // the first of its gates
	)
	general, first := int(unsafe.Offsetof(s.General)), int(unsafe.Sizeof(s))
	word := func(offset int) uint64 { return binary.LittleEndian.Uint64(data[at+offset:]) }
	boot := int(unsafe.Offsetof(s.Boot))
	// Something that this processor lacks; no processor has all of Groups.
	group, lacks, name := 0, uint64(0), ""
	here := x86.ThisProcessor()
	for i := range x86.Groups {
		for bit, n := range x86.Groups[i].Names {
			if n != "" && here.Features[i]>>bit&1 == 0 {
				group, lacks, name = int(unsafe.Offsetof(s.Features))+8*i, 1<<bit, n
			}
		}
	}
	type change struct {
		offset int
		value  uint64
	}
	for what, test := range map[string]struct {
		changes []change
		status  int
		says    string
	}{
		"nothing":        {nil, 0, ""},
		"another boot":   {[]change{{boot, word(boot) + 1}}, 0, ""},
		"format":         {[]change{{0, word(0) + 1}}, 125, "damaged, or made by another version"},
		"ranges":         {[]change{{8, 1 << 40}}, 125, "damaged, or made by another version"},
		"in the shim":    {[]change{{general + rip, shim}}, 1, "translation fault"},
		"no address":     {[]change{{general + rip, 1 << 63}}, 125, "which is no address"},
		"level 0":        {[]change{{general + rflags, 2}}, 125, "which no guest has"},
		"interrupts":     {[]change{{general + rflags, word(general+rflags) | 1<<9}}, 125, "which no guest has"},
		"thread pointer": {[]change{{int(unsafe.Offsetof(s.FSBase)), 1 << 47}}, 125, "a segment's base"},
		"in boot info":   {[]change{{int(unsafe.Offsetof(s.Poll)), 0x10000}}, 125, "which it cannot write"},
		"in the tables":  {[]change{{first, 1 << 32}}, 125, "none of the guest's"},
		"over boot info": {[]change{{first, 0x10000}}, 125, "not pages in order"},
		"too much":       {[]change{{first + 8, 1 << 30}}, 125, "none of the guest's"},
		"registers":      {[]change{{int(unsafe.Offsetof(s.Extended)) + x86.LegacySize, 1 << 62}}, 125, "is damaged"},
		"processor":      {[]change{{boot, word(boot) + 1}, {group, word(group) | lacks}}, 125, "this processor lacks " + name},
		"frequency":      {[]change{{int(unsafe.Offsetof(s.Hz)), 2 * word(int(unsafe.Offsetof(s.Hz)))}}, 125, "this host's time stamp counter runs at"},
		"MTU":            {[]change{{int(unsafe.Offsetof(s.Devices)) + 16 + 8, 99}}, 125, "and the guest has found 99"},
	} {
		b := slices.Clone(data)
		for _, c := range test.changes {
			binary.LittleEndian.PutUint64(b[at+c.offset:], c.value)
		}
		r := altered(t, b)
		if r.Status != test.status || (test.says == "") != (r.Stderr == "") || !strings.Contains(r.Stderr, test.says) ||
			strings.Count(r.Stderr, "\n") > 1 || test.says == "" && r.Stdout != "hello" {
			t.Errorf("%s: %+v", what, r)
		}
	}
	// A counter that this host's has not reached yet: KVM sets it, or else the guest is
	// refused. The same goes for one that was stopped an hour ago by the wall clock.
	for what, c := range map[string]change{
		"later":   {int(unsafe.Offsetof(s.Counter)), 1 << 61},
		"earlier": {int(unsafe.Offsetof(s.Wall)), word(int(unsafe.Offsetof(s.Wall))) - 3600e9},
	} {
		b := slices.Clone(data)
		binary.LittleEndian.PutUint64(b[at+c.offset:], c.value)
		r := altered(t, b)
		ran := r.Status == 0 && r.Stdout == "hello" && r.Stderr == ""
		refused := r.Status == 125 && strings.HasPrefix(r.Stderr, "gocat: this host's time stamp counter ") && strings.Count(r.Stderr, "\n") == 1
		if _, err := os.Stat("/sys/module/kvm_pvm"); !refused && (err == nil || !ran) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	// Cut off anywhere after what the kernel needs to start it.
	for _, cut := range []int{1, 4096, len(data) - at, len(data) - at + 4096} {
		check(t, "cut off", altered(t, data[:len(data)-cut]), testhost.Result{Status: 125,
			Stderr: "gocat: the executable is damaged: it is not as long as gocat seal made it\n"})
	}
}

// altered runs an executable with these bytes, with a line of input.
func altered(t *testing.T, b []byte) testhost.Result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "altered")
	if err := os.WriteFile(path, b, 0o700); err != nil {
		t.Fatal(err)
	}
	return input(t, "hello", path)
}
