package kvmhvt

import (
	"strconv"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// cpuidCode executes CPUID for a leaf and stores the answer at buffer.
func cpuidCode(leaf uint32) []byte {
	b := []byte{0x53, 0xb8, byte(leaf), byte(leaf >> 8), byte(leaf >> 16), byte(leaf >> 24), 0x31, 0xc9, 0x0f, 0xa2} // push rbx; mov eax, leaf; xor ecx, ecx; cpuid
	for i, modrm := range []byte{0x04, 0x1c, 0x0c, 0x14} {                                                           // eax, ebx, ecx, edx
		at := uint32(buffer + 4*i)
		b = append(b, 0x89, modrm, 0x25, byte(at), byte(at>>8), byte(at>>16), byte(at>>24)) // mov [at], reg
	}
	return append(b, 0x5b, 0xc3) // pop rbx; ret
}

// TestCPUID reads what a guest sees where KVM answers for sure, at privilege
// level 0: at level 3 some hosts' processors answer directly.
func TestCPUID(t *testing.T) {
	p := guests.NewProbe(image.HVT)
	ask := func(leaf uint32, status uint64, checks ...[3]uint64) {
		p.Do(p.Execute(guests.N(p.Code(cpuidCode(leaf)))))
		for _, c := range checks { // word, mask, wanted bits
			// mov eax, [buffer+4*word]; and eax, mask; ret
			at, mask := uint32(buffer+4*c[0]), uint32(c[1])
			code := []byte{0x8b, 0x04, 0x25, byte(at), byte(at >> 8), byte(at >> 16), byte(at >> 24),
				0x25, byte(mask), byte(mask >> 8), byte(mask >> 16), byte(mask >> 24), 0xc3}
			p.Do(p.Execute(guests.N(p.Code(code))).Equals(guests.N(c[2]), status))
		}
	}
	const ecx, ebx, edx = 2, 1, 3
	ask(1, 2,
		[3]uint64{ecx, leaf1ECXVMX | leaf1ECXSMX | leaf1ECXx2APIC | leaf1ECXMonitor, 0},
		[3]uint64{edx, 1<<25 | 1<<26 | 1<<4, 1<<25 | 1<<26 | 1<<4}, // SSE, SSE2, TSC
		[3]uint64{ebx, 0xffff0000, 0})
	ask(7, 3, [3]uint64{ebx, leaf7EBXSGX, 0})
	ask(0x40000000, 4, [3]uint64{0, 0xffffffff, 0x40000000}, [3]uint64{ebx, 0xffffffff, 0x4b4d564b}) // "KVMK"
	ask(0x80000001, 5, [3]uint64{ecx, ext1ECXSVM, 0}, [3]uint64{edx, 1 << 29, 1 << 29})              // long mode
	ask(0x80000007, 6, [3]uint64{edx, ^uint64(ext7EDXInvariant) & 0xffffffff, 0})
	r := runTender(t, "--cpl=0", probe(t, p))
	if r.status != 0 {
		t.Errorf("%+v", r)
	}
}

func TestMaskCPUID(t *testing.T) {
	all := []cpuidEntry{
		{function: 0, eax: 0x20, ebx: 1},
		{function: 1, eax: 7, ebx: 0xffffffff, ecx: 0xffffffff, edx: 0xffffffff},
		{function: 2, eax: 1}, {function: 3, eax: 1}, {function: 4, eax: 1}, {function: 0xb, eax: 1},
		{function: 7, ebx: 0xffffffff, ecx: 0xffffffff},
		{function: 7, index: 1, ebx: 0xffffffff},
		{function: 0x12, eax: 1}, {function: 0x15, eax: 1}, {function: 0x40000000, eax: 0x40000010, ebx: 3},
		{function: 0x40000001, eax: 0xffff}, {function: 0x80000002, eax: 1}, {function: 0x8000000a, eax: 1},
	}
	got := maskCPUID(all)
	var functions []string
	for _, e := range got {
		functions = append(functions, strconv.FormatUint(uint64(e.function), 16))
		switch {
		case e.function == 0 && (e.eax != 0xd || e.ebx != 1),
			e.function == 1 && (e.ebx != 0xff00 || e.ecx&(leaf1ECXVMX|leaf1ECXSMX) != 0 || e.edx&(1<<26) == 0),
			e.function == 7 && e.index == 0 && (e.ebx&leaf7EBXSGX != 0 || e.ebx&(1<<18) == 0),
			e.function == 7 && e.index == 1 && e.ebx != 0xffffffff,
			e.function == 0x40000000 && (e.eax != 0x40000000 || e.ebx != 3):
			t.Errorf("%+v", e)
		}
	}
	if want := "0 1 7 7 40000000"; strings.Join(functions, " ") != want {
		t.Errorf("leaves %v, want %s", functions, want)
	}
}
