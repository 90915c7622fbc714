//go:build !gocat_image

package kernel

// instructions stand for those of an image's assembler where the kernel is
// tested: a tender that is a program.
type instructions struct {
	syscall6 func(nr, a, b, c, d uintptr) uintptr
	out      func(port, v uint32)
	rdtsc    func() uint64
	random   func() (uint64, bool)
	wrmsr    func(msr uint32, v uint64)
	renew    func()
	cpuid    func(leaf uint32) (a, b, c, d uint32)
}

var machine instructions

func syscall6(nr, a, b, c, d, _, _ uintptr) uintptr { return machine.syscall6(nr, a, b, c, d) }
func out(port, v uint32)                            { machine.out(port, v) }
func rdtsc() uint64                                 { return machine.rdtsc() }
func exchange(p *uint32, v uint32) (was uint32)     { was, *p = *p, v; return was }
func loadTables(_, _, _ uintptr)                    {}
func rdrand() (uint64, bool)                        { return machine.random() }
func rdseed() (uint64, bool)                        { return machine.random() }
func wrmsr(msr uint32, v uint64)                    { machine.wrmsr(msr, v) }
func cpuid(leaf, _ uint32) (a, b, c, d uint32)      { return machine.cpuid(leaf) }
func renew()                                        { machine.renew() }
