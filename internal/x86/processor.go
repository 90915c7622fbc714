package x86

// CPUID returns EAX, EBX, ECX and EDX of the CPUID instruction.
func CPUID(leaf, sub uint32) (r [4]uint32)

// xgetbv returns XCR0, where Features[0] has OSXSAVE.
func xgetbv() (low, high uint32)

// Registers of CPUID, as indexes of its result.
const (
	EAX = iota
	EBX
	ECX
	EDX
)

// Group is a leaf of CPUID, sub-leaf 0, of which EBX and ECX say which instructions a
// processor has.
type Group struct {
	Leaf  uint32
	Names [64]string // by bit, those of ECX from 32 on; "" for those that say nothing of instructions
}

// Groups are the features by which programs choose their instructions (Intel SDM
// volume 2, CPUID; AMD APM volume 3, appendix E). What every x86-64 processor has is
// left out.
var Groups = [...]Group{
	{1, [64]string{32: "SSE3", 33: "PCLMULQDQ", 41: "SSSE3", 44: "FMA", 45: "CMPXCHG16B", 51: "SSE4.1", 52: "SSE4.2",
		54: "MOVBE", 55: "POPCNT", 57: "AES", osxsave: "XSAVE", 60: "AVX", 61: "F16C", 62: "RDRAND"}},
	{7, [64]string{0: "FSGSBASE", 3: "BMI1", 5: "AVX2", 8: "BMI2", 9: "ERMS", 16: "AVX512F", 17: "AVX512DQ", 18: "RDSEED",
		19: "ADX", 21: "AVX512_IFMA", 23: "CLFLUSHOPT", 24: "CLWB", 28: "AVX512CD", 29: "SHA", 30: "AVX512BW", 31: "AVX512VL",
		33: "AVX512_VBMI", 38: "AVX512_VBMI2", 40: "GFNI", 41: "VAES", 42: "VPCLMULQDQ", 43: "AVX512_VNNI",
		44: "AVX512_BITALG", 46: "AVX512_VPOPCNTDQ", 54: "RDPID"}},
	{0x80000001, [64]string{37: "LZCNT", 38: "SSE4A", 40: "PREFETCHW", 43: "XOP", 48: "FMA4", 53: "TBM"}},
}

// osxsave is the bit of Groups[0] without which there are no extended states.
const osxsave = 32 + 27

// States that a program has without asking for them (bits of XCR0): those above and
// AVX-512's three.
const (
	StateAVX512 = 7 << 5
	States      = StateFPU | StateSSE | StateAVX | StateAVX512
)

// StatesLeaf is CPUID's leaf about extended states: sub-leaf n has the offset of state
// n in EBX.
const StatesLeaf = 0xd

// Processor is what a program can have found a processor to be.
type Processor struct {
	Features [len(Groups)]uint64 // bits of Groups that have a name
	States   uint64              // bits of XCR0 that are in States
	// Last is the offset in bytes at which XSAVE stores the last of AVX-512's states,
	// where there are some. Those before it follow one another.
	Last uint32
}

// StateLast is the highest bit of States.
const StateLast = 7

// ThisProcessor looks at the processor.
func ThisProcessor() (p Processor) {
	for i := range Groups {
		g := &Groups[i]
		r := CPUID(g.Leaf, 0)
		p.Features[i] = (uint64(r[EBX]) | uint64(r[ECX])<<32) & g.Named()
	}
	if p.Features[0]>>osxsave&1 == 0 {
		return p
	}
	low, _ := xgetbv()
	p.States = uint64(low) & States
	if p.States>>StateLast&1 != 0 {
		p.Last = CPUID(StatesLeaf, StateLast)[EBX]
	}
	return p
}

// Named returns the bits that have a name.
func (g *Group) Named() (bits uint64) {
	for i := range g.Names {
		if g.Names[i] != "" {
			bits |= 1 << i
		}
	}
	return bits
}
