package gobuild

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"golang.org/x/arch/x86/x86asm"

	"gocat/internal/image"
)

// Symbols of a linked program.
const (
	targetSymbol  = kernelPath + ".Target"
	syscallSymbol = kernelPath + ".syscall6"
	faultSymbol   = "gocatSignal"
	timerSymbol   = kernelPath + ".Timer"
	askedSymbol   = kernelPath + ".Asked"
	ringSymbol    = kernelPath + ".Ring"
	cloneSymbol   = kernelPath + ".Generation"
	treeSymbol    = kernelPath + ".Tree"
	notifySymbol  = "os/signal.Notify" // of programs that want signals
)

// convert makes an image of what the linker wrote: its segments, as they are,
// with the target filled in.
func convert(program []byte, target image.Target, m image.Manifest, files []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("linked program: %w", err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("linked program: %w", err)
	}
	if err := checkText(f, symbols); err != nil {
		return nil, err
	}
	at, tree, fault, timer, asked, ring, clone := uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0)
	notify := false
	for _, s := range symbols {
		switch s.Name {
		case targetSymbol:
			at = s.Value
		case treeSymbol:
			tree = s.Value
		case faultSymbol:
			fault = s.Value
		case timerSymbol:
			timer = s.Value
		case askedSymbol:
			asked = s.Value
		case ringSymbol:
			ring = s.Value
		case cloneSymbol:
			clone = s.Value
		case notifySymbol:
			notify = true
		}
	}
	spec := image.Spec{Target: target, Version: 2, Entry: f.Entry, Manifest: m, Timer: timer, Generation: clone}
	if target == image.SPT {
		spec.Fault = fault
	} else {
		spec.Ring = ring
	}
	if notify {
		spec.Signals = asked
	}
	end := uint64(0)
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			end = max(end, p.Vaddr+p.Memsz)
		}
	}
	end = (end + image.PageSize - 1) &^ (image.PageSize - 1)
	patched := 0
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD {
			continue
		}
		data := program[p.Off:][:p.Filesz]
		for addr, v := range map[uint64]uint64{at: uint64(target), tree: treeAddress(files, end)} {
			if addr >= p.Vaddr && addr+8 <= p.Vaddr+p.Filesz {
				data = bytes.Clone(data)
				binary.LittleEndian.PutUint64(data[addr-p.Vaddr:], v)
				patched++
			}
		}
		spec.Segments = append(spec.Segments, image.SpecSegment{
			Vaddr: p.Vaddr, Data: data, Memsz: p.Memsz, Prot: image.Prot(p.Flags),
		})
	}
	if patched != 2 {
		return nil, fmt.Errorf("linked program: no variables %s and %s with initial values", targetSymbol, treeSymbol)
	}
	if files != nil {
		spec.Segments = append(spec.Segments, image.SpecSegment{Vaddr: end, Data: files, Prot: image.R})
	}
	return image.Encode(spec)
}

// treeAddress is where the kernel finds the files.
func treeAddress(files []byte, end uint64) uint64 {
	if files == nil {
		return 0
	}
	return end
}

// hasSymbol says whether a linked program has any of the functions of these names.
func hasSymbol(program []byte, names ...string) (bool, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return false, fmt.Errorf("linked program: %w", err)
	}
	symbols, err := f.Symbols()
	if err != nil {
		return false, fmt.Errorf("linked program: %w", err)
	}
	return slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return slices.Contains(names, s.Name) }), nil
}

// checkText proves that the program's code has no SYSCALL instruction but the
// kernel's own. It decodes the code of each function from its start.
func checkText(f *elf.File, symbols []elf.Symbol) error {
	text := f.Section(".text")
	if text == nil {
		return fmt.Errorf("linked program: no section .text")
	}
	code, err := text.Data()
	if err != nil {
		return fmt.Errorf("linked program: %w", err)
	}
	var funcs []elf.Symbol
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value >= text.Addr && s.Value < text.Addr+text.Size && s.Size > 0 {
			funcs = append(funcs, s)
		}
	}
	sort.Slice(funcs, func(i, j int) bool { return funcs[i].Value < funcs[j].Value })
	own := 0
	next := text.Addr
	for _, s := range funcs {
		end := s.Value + s.Size
		if end > text.Addr+text.Size {
			return fmt.Errorf("linked program: function %s ends past the code", s.Name)
		}
		// Between functions there is padding only, and nothing jumps there.
		for ; next < s.Value; next++ {
			if b := code[next-text.Addr]; b != 0xcc && b != 0 {
				return fmt.Errorf("linked program: code without a name at %#x", next)
			}
		}
		next = max(next, end)
		n, err := countSyscalls(code[s.Value-text.Addr : end-text.Addr])
		if err != nil {
			return fmt.Errorf("linked program: function %s: %w", s.Name, err)
		}
		if s.Name == syscallSymbol {
			own += n
		} else if n > 0 {
			return fmt.Errorf("%s makes system calls of its own (SYSCALL instructions: %d), which a unikernel cannot", s.Name, n)
		}
	}
	if own != 1 {
		return fmt.Errorf("linked program: %d SYSCALL instructions in %s, expected 1", own, syscallSymbol)
	}
	return nil
}

// countSyscalls counts the instructions that enter a host's kernel.
func countSyscalls(code []byte) (n int, err error) {
	for at := 0; at < len(code); {
		var i x86asm.Inst
		// In 64-bit code these bytes are VEX and EVEX prefixes, which the decoder
		// takes for what they are in 32-bit code, or does not know.
		vector := code[at] == 0xc4 || code[at] == 0xc5 || code[at] == 0x62
		if !vector {
			i, err = x86asm.Decode(code[at:], 64)
		}
		if vector || err != nil || i.Len == 0 {
			size := vectorLength(code[at:])
			if size == 0 {
				return n, fmt.Errorf("unknown instruction % x at offset %#x", code[at:min(at+12, len(code))], at)
			}
			at += size
			continue
		}
		switch i.Op {
		case x86asm.SYSCALL, x86asm.SYSENTER:
			n++
		case x86asm.INT:
			if i.Args[0] != x86asm.Imm(3) {
				n++
			}
		}
		at += i.Len
	}
	return n, nil
}
