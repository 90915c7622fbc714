package gobuild

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"

	"gocat/internal/image"
)

// Instructions that x86asm does not know, and their lengths.
func TestVectorLength(t *testing.T) {
	for _, code := range []string{
		"c5f877",                   // VZEROUPPER
		"c5fd6f06",                 // VMOVDQA (RSI), Y0
		"c5fe6f4c2420",             // VMOVDQU 32(SP), Y1
		"c5fd6f0d11223344",         // VMOVDQA x(RIP), Y1
		"c4e27d584c2408",           // VPBROADCASTD
		"c4e3fd00c04e",             // VPERMQ $78, Y0, Y0
		"c5f572d107",               // VPSRLD $7, Y1, Y1
		"c4e37d46c131",             // VPERM2I128
		"62f1fe486f06",             // VMOVDQU64 (RSI), Z0
		"62f17f486f8c8811223344",   // VMOVDQU8 x(RAX)(RCX*4), Z1
		"62f3f5482504c0ff",         // VPTERNLOGQ $255, (AX)(AX*8)
		"0f38c8d1",                 // SHA1NEXTE
		"0f3accc101",               // SHA1RNDS4 $1
		"66440f38f6c8",             // ADCX
		"f3480f38f6d8",             // ADOX
		"0f01d0",                   // XGETBV
		"480fc7f0",                 // RDRAND
		"0f1f8400000000000f1f4000", // NOP of 8 and of 4 bytes: the first
	} {
		b, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		want := len(b)
		if code == "0f1f8400000000000f1f4000" {
			want = 8
		}
		if got := vectorLength(append(b, 0x0f, 0x05)); got != want {
			t.Errorf("%s: %d bytes, expected %d", code, got, want)
		}
		for n := range want {
			if got := vectorLength(b[:n]); got > n {
				t.Errorf("%s cut to %d bytes: %d", code, n, got)
			}
		}
	}
	for _, code := range []string{"0f05", "cd80", "90", "0f34", ""} {
		b, _ := hex.DecodeString(code)
		if got := vectorLength(b); got != 0 {
			t.Errorf("%s: %d bytes", code, got)
		}
	}
}

func TestCountSyscalls(t *testing.T) {
	for code, want := range map[string]int{
		"0f05":                    1,
		"0f34":                    1,
		"cd80":                    1,
		"cc":                      0,
		"48b80f05000000000000c3":  0, // in an immediate
		"c5f8770f05":              1, // behind an instruction that is only measured
		"62f1fe486f060f05c3":      1,
		"48c7c03c0000000f05eb fe": 1,
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := countSyscalls(b); err != nil || got != want {
			t.Errorf("%s: %d, %v, expected %d", code, got, err, want)
		}
	}
	if _, err := countSyscalls([]byte{0x06}); err == nil {
		t.Error("an instruction that 64-bit code does not have was accepted")
	}
}

// program is hello, linked and not yet an image.
func program(t *testing.T) (*elf.File, []elf.Symbol) {
	t.Helper()
	tool, err := findToolchain(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := tool.link(t.Context(), Config{Package: "gocat/examples/hello", Target: image.SPT}, false)
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	return f, symbols
}

// The library kernel calls nothing of the runtime that needs a goroutine, a heap
// or a lock: what it may call is a list.
func TestKernelCalls(t *testing.T) {
	allowed := []string{
		"runtime.memmove", "runtime.memclrNoHeapPointers", "runtime.memequal",
		"runtime.duffzero", "runtime.duffcopy",
		// When it has become a clone.
		"runtime.gocatRenew",
		// Never reached: the stack is large enough, indices are right, and these
		// end the guest in the handler of its faults.
		"runtime.morestack_noctxt", "runtime.panicBounds", "runtime.panicdivide", "runtime.panicunsafeslicelen",
		"runtime.panicunsafeslicenilptr", "runtime.panicunsafeslicelen1", "runtime.panicunsafeslicenilptr1", "runtime.panicshift",
		"runtime.panicoverflow",
	}
	f, symbols := program(t)
	names := make(map[uint64]string)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			names[s.Value] = s.Name
		}
	}
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	found, functions := make(map[string]bool), 0
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || !strings.HasPrefix(s.Name, kernelPath+".") {
			continue
		}
		functions++
		for at := uint64(0); at < s.Size; {
			i, err := x86asm.Decode(code[s.Value-text.Addr+at:], 64)
			if err != nil {
				at += uint64(max(vectorLength(code[s.Value-text.Addr+at:]), 1))
				continue
			}
			at += uint64(i.Len)
			to, direct := i.Args[0].(x86asm.Rel)
			if i.Op != x86asm.CALL && i.Op != x86asm.JMP {
				continue
			}
			if !direct {
				if i.Op == x86asm.CALL {
					t.Errorf("%s calls through a pointer", s.Name)
				}
				continue
			}
			target := s.Value + at + uint64(int64(to))
			if target >= s.Value && target < s.Value+s.Size {
				continue
			}
			name := names[target]
			if name == "" { // into the midst of one, as of duffzero
				for _, o := range symbols {
					if elf.ST_TYPE(o.Info) == elf.STT_FUNC && target > o.Value && target < o.Value+o.Size {
						name = o.Name
					}
				}
			}
			if !strings.HasPrefix(name, kernelPath+".") {
				found[strings.TrimSuffix(name, ".abi0")] = true
			}
		}
	}
	if functions < 20 {
		t.Errorf("only %d functions of the library kernel found", functions)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if !slices.Contains(allowed, name) {
			t.Errorf("the library kernel calls %s", name)
		}
	}
}

// A program with a SYSCALL of its own is refused, by the function's name.
func TestStraySyscall(t *testing.T) {
	f, symbols := program(t)
	if err := checkText(f, symbols); err != nil {
		t.Fatal(err)
	}
	for i := range symbols {
		if symbols[i].Name == syscallSymbol {
			symbols[i].Name = "main.stray"
		}
	}
	if err := checkText(f, symbols); err == nil || !strings.Contains(err.Error(), "main.stray makes system calls of its own") {
		t.Errorf("error %v", err)
	}
	if err := checkText(f, symbols[:len(symbols)/2]); err == nil || !strings.Contains(err.Error(), "code without a name") {
		t.Errorf("with half of the symbols: %v", err)
	}
}
