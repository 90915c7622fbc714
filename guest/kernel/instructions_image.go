//go:build gocat_image

package kernel

import _ "unsafe" // for linkname

// What no Go can express: assembler of package runtime, by these names.

//go:linkname syscall6
func syscall6(nr, a, b, c, d, e, f uintptr) uintptr

//go:linkname out
func out(port, v uint32)

//go:linkname rdtsc
func rdtsc() uint64

//go:linkname cpuid
func cpuid(leaf, sub uint32) (a, b, c, d uint32)

//go:linkname rdrand
func rdrand() (v uint64, ok bool)

//go:linkname rdseed
func rdseed() (v uint64, ok bool)

//go:linkname wrmsr
func wrmsr(msr uint32, v uint64)

//go:linkname exchange
func exchange(p *uint32, v uint32) uint32

//go:linkname loadTables
func loadTables(gdt, task, idt uintptr)

// renew is package runtime's: it replaces the random state of all its threads.
//
//go:linkname renew runtime.gocatRenew
func renew()
