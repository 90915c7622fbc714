package kvmhvt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// newCPU makes a processor whose guest is at code, with a stack.
func newCPU(t testing.TB, code []byte) (*cpu, *services) {
	s := newServices(t)
	const at = minBase + 0x100
	copy(s.mem.b[at:], code)
	r := &regs{rip: at, rsp: fuzzMemory - 0x1000, rflags: flagFixed | flagIOPL3}
	return &cpu{regs: r, mem: s.mem}, s
}

func TestEmulate(t *testing.T) {
	const at, data = minBase + 0x100, minBase + 0x2000
	for _, tt := range []struct {
		name  string
		code  []byte
		setup func(c *cpu)
		check func(c *cpu) bool
	}{
		{"lgdt [rip+x]", []byte{0x0f, 0x01, 0x15, 0xf9, 0x1e, 0, 0}, // data
			func(c *cpu) { copy(c.mem.b[data:], []byte{0x27, 0, 0, 0x50, 0x10}) },
			func(c *cpu) bool { return c.gdt.limit == 0x27 && c.gdt.base == 0x105000 && c.rip == at+7 }},
		{"lidt [rax+4*rcx-8]", []byte{0x0f, 0x01, 0x5c, 0x88, 0xf8},
			func(c *cpu) {
				c.rax, c.rcx = data, 2
				copy(c.mem.b[data:], []byte{0xff, 0x02, 0, 0x60, 0x10})
			},
			func(c *cpu) bool { return c.idt.limit == 0x2ff && c.idt.base == 0x106000 }},
		{"lgdt fs:[rdi]", []byte{0x64, 0x0f, 0x01, 0x17},
			func(c *cpu) { c.fsBase, c.rdi = data-16, 16; c.mem.b[data] = 7 },
			func(c *cpu) bool { return c.gdt.limit == 7 }},
		{"ltr r9w", []byte{0x41, 0x0f, 0x00, 0xd9},
			func(c *cpu) { c.r9 = 0xffff0018 }, func(c *cpu) bool { return c.tr == 0x18 && c.rip == at+4 }},
		{"wrmsr fs base", []byte{0x0f, 0x30},
			func(c *cpu) { c.rcx, c.rax, c.rdx = msrFSBase, 0xffffffff00002000, 0x7f },
			func(c *cpu) bool { return c.fsBase == 0x7f00002000 }},
		{"rdmsr gs base", []byte{0x0f, 0x32},
			func(c *cpu) { c.rcx, c.gsBase, c.rax = msrGSBase, 0x1234567890, ^uint64(0) },
			func(c *cpu) bool { return c.rax == 0x34567890 && c.rdx == 0x12 }},
		{"mov r12, cr2", []byte{0x41, 0x0f, 0x20, 0xd4},
			func(c *cpu) { c.cr2 = 0x400000000 }, func(c *cpu) bool { return c.r12 == 0x400000000 }},
		{"mov rax, cr0", []byte{0x0f, 0x20, 0xc0}, nil, func(c *cpu) bool { return c.rax == cr0Init }},
		{"mov cr4, rax unchanged", []byte{0x0f, 0x22, 0xe0},
			func(c *cpu) { c.rax = cr4Init }, func(c *cpu) bool { return c.rip == at+3 }},
		{"mov rcx, cr0 with a mod field that is ignored", []byte{0x0f, 0x20, 0x41, 0x0b}, nil, func(c *cpu) bool { return c.rcx == cr0Init && c.rip == at+3 }},
		{"mov cr4, rax with another", []byte{0x0f, 0x22, 0xa0, 0, 0, 0, 0},
			func(c *cpu) { c.rax = cr4Init }, func(c *cpu) bool { return c.rip == at+3 }},
		{"mov ss, eax", []byte{0x8e, 0xd0}, nil, func(c *cpu) bool { return c.rip == at+2 }},
		{"cli", []byte{0xfa}, nil, func(c *cpu) bool { return c.rip == at+1 }},
		{"lretq 8", []byte{0x48, 0xca, 8, 0},
			func(c *cpu) { store64(c.mem.b, int(c.rsp), minBase+0x500); store64(c.mem.b, int(c.rsp+8), 8) },
			func(c *cpu) bool { return c.rip == minBase+0x500 && c.rsp == fuzzMemory-0x1000+24 }},
		{"iretq", []byte{0x48, 0xcf},
			func(c *cpu) {
				for i, v := range []uint64{minBase + 0x600, 8, 0xffffffff, 0x180000, 16} {
					store64(c.mem.b, int(c.rsp)+8*i, v)
				}
			},
			func(c *cpu) bool {
				return c.rip == minBase+0x600 && c.rsp == 0x180000 && c.rflags&(flagIF|flagNT) == 0 && c.rflags&flagIOPL3 == flagIOPL3
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := newCPU(t, tt.code)
			if tt.setup != nil {
				tt.setup(c)
			}
			if err := c.exception(vectorGP, 0); err != nil || !tt.check(c) {
				t.Errorf("%v: %v, %+v", err, c.regs, c)
			}
		})
	}
}

// TestFollowing has instructions that are emulated with the one before, and some that
// must not be: what need not leave the guest, and what lies in another page, which may
// not be executable.
func TestFollowing(t *testing.T) {
	const at = minBase + 0x100
	ltr := []byte{0x41, 0x0f, 0x00, 0xd9} // ltr r9w
	repeat := func(n int) []byte { return bytes.Repeat(ltr, n) }
	for name, tt := range map[string]struct {
		code  []byte
		setup func(c *cpu)
		size  uint64 // how far the guest is when it goes on
		lack  string // in the error that ends it
	}{
		"alone":          {append(repeat(1), 0x90), nil, 4, ""},
		"three":          {append(append(repeat(2), 0x0f, 0x30), 0x90), func(c *cpu) { c.rcx = msrFSBase }, 10, ""},
		"out":            {append(repeat(2), 0xef), nil, 8, ""},
		"cli":            {append(repeat(2), 0xfa), nil, 8, ""},
		"mov from cr0":   {append(repeat(2), 0x0f, 0x20, 0xc0), nil, 8, ""},
		"hlt":            {append(repeat(2), 0xf4), nil, 8, ""},
		"very many":      {repeat(100), nil, 4 * inRow, ""},
		"stepped":        {repeat(3), func(c *cpu) { c.rflags |= flagTF }, 4, ""},
		"bad register":   {append(repeat(2), 0x0f, 0x30), nil, 0, "not emulated: WRMSR"},
		"not an address": {append(repeat(2), 0x0f, 0x30), func(c *cpu) { c.rcx, c.rdx = msrFSBase, 1<<31 }, 8, ""},
		"next page": {repeat(3), func(c *cpu) {
			copy(c.mem.b[minBase+0x1ff8:], repeat(3))
			c.rip = minBase + 0x1ff8
		}, 0x1f00, ""},
		"across pages": {nil, func(c *cpu) {
			copy(c.mem.b[minBase+0x1ffa:], repeat(3))
			c.rip = minBase + 0x1ffa
		}, 0x1efe, ""},
	} {
		c, _ := newCPU(t, tt.code)
		c.r9 = 24
		if tt.setup != nil {
			tt.setup(c)
		}
		d := &tender{cpu: *c}
		err := d.deliver(vectorGP, 0)
		if tt.lack != "" {
			if err == nil || !strings.Contains(err.Error(), tt.lack) {
				t.Errorf("%s: got %v, want %q", name, err, tt.lack)
			}
			continue
		}
		if err != nil || d.cpu.rip != at+tt.size || d.cpu.tr != 24 {
			t.Errorf("%s: %v, at %#x, want %#x", name, err, d.cpu.rip, at+tt.size)
		}
	}
}

// TestReflect delivers a fault to a handler on a stack of its own.
func TestReflect(t *testing.T) {
	c, s := newCPU(t, []byte{0x90})
	const gdt, idt, tss, stack = minBase + 0x2000, minBase + 0x2100, minBase + 0x2400, minBase + 0x3ff8
	b := s.mem.b
	c.gdt, c.idt, c.tr = dtable{base: gdt, limit: 39}, dtable{base: idt, limit: 48*16 - 1}, 24
	store64(b, gdt+24, 0x0000890000000067|tss&0xffffff<<16|tss>>24<<56)
	store64(b, tss+36+8, stack) // IST 2
	handler := uint64(minBase + 0x800)
	store64(b, idt+14*16, handler&0xffff|8<<16|2<<32|0x8e<<40|handler>>16<<48)
	c.cr2 = 0x400000000
	was := *c.regs
	if err := c.exception(vectorPF, 2); err != nil {
		t.Fatal(err)
	}
	at := uint64(stack&^15 - 48)
	want := []uint64{2, was.rip, 8, flagFixed, was.rsp, 16}
	for i, v := range want {
		if got := load64(b, int(at)+8*i); got != v {
			t.Errorf("word %d of the frame is %#x, want %#x", i, got, v)
		}
	}
	if c.rip != handler || c.rsp != at {
		t.Errorf("at %#x with stack %#x", c.rip, c.rsp)
	}
	// Stacks and tables in the wrong place end the guest.
	for _, bad := range []func(){
		func() { store64(b, tss+36+8, minBase+0x1100) },
		func() { store64(b, tss+36+8, 0) },
		func() { c.tr = 0 },
		func() { c.idt.limit = 14*16 + 14 },
		func() { c.idt.base = ^uint64(0) - 100 },
	} {
		bad()
		if err := c.exception(vectorPF, 2); err == nil || !strings.Contains(err.Error(), "#PF at 0x400000000") {
			t.Errorf("got %v", err)
		}
	}
}

// TestHandlerReturns has a real guest handle a breakpoint and return from it.
func TestHandlerReturns(t *testing.T) {
	p := guests.NewProbe(image.HVT)
	const idt, idtr = scratch, scratch + 0x800
	handler := p.Code([]byte{0x48, 0xff, 0x04, 0x25, 0x00, 0x30, 0x14, 0x00, 0x48, 0xcf}) // inc qword [buffer]; iretq
	p.Do(
		p.Store64(guests.N(idt+3*16), guests.N(handler&0xffff|8<<16|0x8e<<40|handler>>16<<48)),
		p.Store64(guests.N(idtr), guests.N(0xff|idt<<16)),
		p.Execute(guests.N(p.Code(append([]byte{0x0f, 0x01, 0x1c, 0x25}, append(binary.LittleEndian.AppendUint32(nil, idtr), 0xc3)...)))),
	)
	for range 3 {
		p.Do(p.Execute(guests.N(p.Code([]byte{0xcc, 0xc3})))) // int3; ret
	}
	p.Do(p.Move(guests.At(buffer)).Equals(guests.N(3), 2))
	if r := runTender(t, probe(t, p)); r.status != 0 {
		t.Errorf("%+v", r)
	}
}

// TestExplains shows the line for an instruction that is not emulated.
func TestExplains(t *testing.T) {
	p := guests.NewProbe(image.HVT)
	code := p.Code([]byte{0xb8, 0xef, 0xbe, 0xad, 0xde, 0x0f, 0x22, 0xd8})
	p.Do(p.Execute(guests.N(code)))
	r := runTender(t, probe(t, p))
	for _, want := range []string{"MOV CR3, RAX (0f 22 d8)", fmt.Sprintf("rip=%#x", code+5), "rax=0xdeadbeef", "level 0"} {
		if r.status != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("%+v lacks %q", r, want)
		}
	}
}
