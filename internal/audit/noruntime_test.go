package audit

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// text is the code of a linked program, by functions.
type text struct {
	functions []function // ascending
	section   *elf.Section
	code      []byte
	constants []byte
	first     uint64 // address of constants
}

type function struct {
	name       string
	start, end uint64
}

func readText(t *testing.T, path string) *text {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	p := &text{section: f.Section(".text")}
	if p.code, err = p.section.Data(); err != nil {
		t.Fatal(err)
	}
	constants := f.Section(".rodata")
	if p.constants, err = constants.Data(); err != nil {
		t.Fatal(err)
	}
	p.first = constants.Addr
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value >= p.section.Addr && s.Value < p.section.Addr+p.section.Size {
			p.functions = append(p.functions, function{s.Name, s.Value, s.Value + s.Size})
		}
	}
	slices.SortFunc(p.functions, func(a, b function) int { return int(int64(a.start - b.start)) })
	return p
}

// at returns the function that an address is in.
func (p *text) at(addr uint64) (function, bool) {
	i := sort.Search(len(p.functions), func(i int) bool { return p.functions[i].start > addr }) - 1
	if i < 0 || addr >= max(p.functions[i].end, p.functions[i].start+1) {
		return function{}, false
	}
	return p.functions[i], true
}

func (p *text) named(t *testing.T, name string) function {
	t.Helper()
	for _, f := range p.functions {
		if f.name == name {
			return f
		}
	}
	t.Fatalf("the program has no function %s", name)
	return function{}
}

// leaves returns the functions that f calls, jumps to, or takes the address of. An
// error is an instruction that may go elsewhere.
func (p *text) leaves(f function) (to []function, err error) {
	inside := func(addr uint64) bool { return addr >= f.start && addr < f.end }
	var table uint64 // what the last LEA has taken the address of
	for pc := f.start; pc < f.end; {
		code := p.code[pc-p.section.Addr : f.end-p.section.Addr]
		inst, err := x86asm.Decode(code, 64)
		if err != nil {
			// What the decoder does not know: instructions of vectors, and the
			// bytes between functions.
			n := unknown(code)
			if n == 0 {
				return nil, fmt.Errorf("%s+%#x: % x is not decoded", f.name, pc-f.start, code[:min(8, len(code))])
			}
			pc += uint64(n)
			continue
		}
		next := pc + uint64(inst.Len)
		for _, a := range inst.Args {
			switch a := a.(type) {
			case x86asm.Rel:
				target := next + uint64(int64(a))
				if g, ok := p.at(target); !inside(target) {
					if !ok {
						return nil, fmt.Errorf("%s+%#x: %v leads nowhere", f.name, pc-f.start, inst)
					}
					to = append(to, g)
				}
			case x86asm.Mem:
				if a.Base == x86asm.RIP && inst.Op == x86asm.LEA {
					table = next + uint64(a.Disp)
					if g, ok := p.at(table); ok && !inside(table) {
						to = append(to, g) // its address is taken
					}
				}
			}
		}
		switch inst.Op {
		case x86asm.CALL, x86asm.JMP:
			if _, direct := inst.Args[0].(x86asm.Rel); !direct && !(inst.Op == x86asm.JMP && p.jumps(table, inside)) {
				return nil, fmt.Errorf("%s+%#x: %v may lead anywhere", f.name, pc-f.start, inst)
			}
		}
		pc = next
	}
	return to, nil
}

// jumps reports whether the constants at table are those of a switch: addresses
// inside the function.
func (p *text) jumps(table uint64, inside func(uint64) bool) bool {
	if table < p.first || table+8 > p.first+uint64(len(p.constants)) {
		return false
	}
	return inside(binary.LittleEndian.Uint64(p.constants[table-p.first:]))
}

// unknown returns the length of an instruction that the decoder does not know and
// that leads nowhere else, or 0.
func unknown(code []byte) int {
	for _, known := range []string{
		"\xc5\xfe\x6f", "\xc5\xfe\x7f", "\xc5\xfd\xe7", "\xc5\xfd\xef", "\xc5\xf8\x77", // VMOVDQU, VMOVNTDQ, VPXOR, VZEROUPPER
	} {
		if bytes.HasPrefix(code, []byte(known)) {
			return len(known)
		}
	}
	return 0
}

// harmless are the functions of package runtime that a tender may reach, and why
// none of them needs the runtime. They are not looked into.
var harmless = map[string]string{
	"runtime.memmove":                 "copies, and knows no runtime",
	"runtime.morestack_noctxt.abi0":   "a check of the stack never takes it: stackguard0 is 0",
	"runtime.gcWriteBarrier1":         "the garbage collector does not run: the flag is never set",
	"runtime.gcWriteBarrier2":         "the same",
	"runtime.wbZero":                  "the same",
	"runtime.panicBounds":             "a defect: it uses g.m, which faults, and the handler tells of it",
	"runtime.panicunsafestringnilptr": "the same",
	"runtime.panicunsafestringlen":    "the same",
	"syscall.Errno.Error":             "a constant, for all error numbers that the kernel uses; for others a defect, as above",
}

// Nothing of the Go runtime can be reached from where a guest has started: neither
// by the code that serves it, nor by the handler of signals.
func TestNoRuntime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gocat")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-E main.entry", "-o", path, "gocat/cmd/gocat")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	p := readText(t, path)
	used := map[string]bool{}
	from := map[string]string{}
	var queue []function
	for _, root := range []string{"gocat/kvmhvt.(*tender).attend", "gocat/kvmhvt.handler", "gocat/kvmhvt.tick", "gocat/kvmhvt.restorer"} {
		f := p.named(t, root)
		queue, from[f.name] = append(queue, f), ""
	}
	trail := func(name string) string {
		var names []string
		for ; name != ""; name = from[name] {
			names = append(names, name)
		}
		return strings.Join(names, " from ")
	}
	for len(queue) > 0 {
		f := queue[0]
		queue = queue[1:]
		to, err := p.leaves(f)
		if err != nil {
			t.Errorf("%v (%s)", err, trail(f.name))
		}
		for _, g := range to {
			if _, seen := from[g.name]; seen {
				continue
			}
			from[g.name] = f.name
			if _, ok := harmless[g.name]; ok {
				used[g.name] = true
				continue
			}
			if strings.HasPrefix(g.name, "runtime.") {
				t.Errorf("the runtime is reached: %s", trail(g.name))
				continue
			}
			queue = append(queue, g)
		}
	}
	t.Logf("%d functions", len(from))
	for name := range harmless {
		if !used[name] {
			t.Errorf("%s is not reached: take it off the list", name)
		}
	}
	// The walk finds what is there.
	if _, err := p.leaves(p.named(t, "runtime.newobject")); err != nil {
		t.Error(err)
	}
	if to, _ := p.leaves(p.named(t, "fmt.Sprintf")); !slices.ContainsFunc(to, func(f function) bool { return strings.HasPrefix(f.name, "runtime.") }) {
		t.Errorf("fmt.Sprintf leads to %v", to)
	}
}
