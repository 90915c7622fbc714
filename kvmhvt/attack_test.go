package kvmhvt

import (
	"fmt"
	"strings"
	"testing"

	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/testhost"
)

// attackMemory is the memory of attacking guests in MB: the tests' tender's.
const attackMemory = 16

// Where attackers aim.
const (
	memEnd      = attackMemory << 20
	text        = image.MinAddr
	infoAddr    = bootInfoAddr
	tables      = 0x2000 // Solo5's tender has its page tables here
	scratch     = guests.Scratch
	buffer      = scratch + 0x1000
	hypercallIO = portHypercall
)

type attack struct {
	name string
	cpl  string // the level at which it is an attack; both when empty
	add  func(p *guests.Probe)
	// want is what the tender says when it ends the guest, or alternatives
	// separated by "|"; "" when the guest goes on and exits with 0.
	want string
}

// TestAttacks runs guests that try to break out of their memory, their devices
// and the tender's protocol. Each is either refused and goes on, or the tender
// ends it with status 1 and one line.
func TestAttacks(t *testing.T) {
	testhost.Slow(t)
	var attacks []attack
	attacks = append(attacks, badAddresses()...)
	attacks = append(attacks, badRanges()...)
	attacks = append(attacks, badHandles()...)
	attacks = append(attacks, badPorts()...)
	attacks = append(attacks, badMemory()...)
	attacks = append(attacks, badInstructions()...)
	for _, cpl := range []string{"3", "0"} {
		for _, a := range attacks {
			if a.cpl != "" && a.cpl != cpl {
				continue
			}
			t.Run("cpl"+cpl+"/"+a.name, func(t *testing.T) { a.run(t, cpl) })
		}
	}
}

func (a attack) run(t *testing.T, cpl string) {
	p := guests.NewProbe(image.HVT,
		image.Entry{Name: "net", Type: image.Net}, image.Entry{Name: "disk", Type: image.Block})
	a.add(p)
	disk := write(t, make([]byte, 8192), nil)
	cmd := tenderCommand(t, "--cpl="+cpl, "--net:net=@0", "--block:disk="+disk, probe(t, p))
	r := runCommand(t, cmd)
	status := 0
	if a.want != "" {
		status = 1
	}
	said := false
	for want := range strings.SplitSeq(a.want, "|") {
		said = said || strings.Contains(r.stderr, want)
	}
	if r.status != status || !said || strings.Count(r.stderr, "\n") > 1 || r.stdout != "" && status == 1 {
		t.Errorf("got %+v, want status %d and %q", r, status, a.want)
	}
}

// badAddresses are argument structures that are not where a structure may be.
func badAddresses() (all []attack) {
	for _, where := range []struct {
		name string
		addr uint64
		read bool // a structure that is only read may be here
	}{
		{"zero", 0, false},
		{"page tables", tables, false},
		{"boot info", infoAddr, true},
		{"text", text, true},
		{"end of memory", memEnd - 4, false},
		{"past memory", memEnd, false},
		{"wrapping", 0xfffffffc, false},
	} {
		for nr := uint64(hcWalltime); nr <= hcHalt; nr++ {
			if where.read && (nr == hcPuts || nr == hcHalt) {
				continue
			}
			all = append(all, attack{
				name: fmt.Sprintf("hypercall %d with its struct at %s", nr, where.name),
				add:  func(p *guests.Probe) { p.Do(p.Out32(guests.N(hypercallIO+nr), guests.N(where.addr))) },
				want: fmt.Sprintf("gpa=0x%x", where.addr),
			})
		}
	}
	return all
}

// badRanges are data pointers and lengths that leave the guest's memory, or
// results that would be written where the guest may not write.
func badRanges() (all []attack) {
	ranges := []struct {
		name      string
		addr, len uint64
		out       bool // only wrong to write to
	}{
		{"length 2^32-1", buffer, 1<<32 - 1, false},
		{"length 2^64-1", buffer, ^uint64(0), false},
		{"wrapping pointer", ^uint64(0) - 3, 8, false},
		{"wrapping to low memory", ^uint64(0xfff), 0x101000, false},
		{"straddling the end", memEnd - 4, 8, false},
		{"just past the end", memEnd, 1, false},
		{"high", 1 << 32, 8, false},
		{"low memory", tables, 8, false},
		{"boot info", infoAddr, 8, true},
		{"text", text, 8, true},
		{"from low memory into the guest's", 0xffff8, 16, true},
	}
	n := guests.N
	for _, r := range ranges {
		want := fmt.Sprintf("gpa=0x%x, sz=%d", r.addr, r.len)
		add := func(name string, f func(p *guests.Probe)) {
			all = append(all, attack{name: name + " " + r.name, add: f, want: want})
		}
		add("net read", func(p *guests.Probe) { p.Hypercall(hcNetRead, scratch, n(1), n(r.addr), n(r.len), n(0)) })
		if r.len <= 8192 {
			add("block read", func(p *guests.Probe) { p.Hypercall(hcBlockRead, scratch, n(2), n(0), n(r.addr), n(r.len), n(0)) })
		}
		if r.out {
			continue
		}
		add("puts", func(p *guests.Probe) { p.Hypercall(hcPuts, scratch, n(r.addr), n(r.len)) })
		add("net write", func(p *guests.Probe) { p.Hypercall(hcNetWrite, scratch, n(1), n(r.addr), n(r.len), n(0)) })
		if r.len <= 8192 {
			add("block write", func(p *guests.Probe) { p.Hypercall(hcBlockWrite, scratch, n(2), n(0), n(r.addr), n(r.len), n(0)) })
		}
		if r.len == 8 {
			all = append(all, attack{name: "halt cookie " + r.name, want: fmt.Sprintf("gpa=0x%x, sz=512", r.addr),
				add: func(p *guests.Probe) { p.Hypercall(hcHalt, scratch, n(r.addr), n(0)) }})
		}
	}
	return all
}

// badHandles are handles of no device, or of one of the other type, and block
// ranges outside the disk: EINVAL for the guest.
func badHandles() (all []attack) {
	n := guests.N
	for _, h := range []uint64{0, 3, 63, 64, 1 << 31, 1 << 32, 1<<32 + 1, 1 << 63, ^uint64(0)} {
		all = append(all, attack{name: fmt.Sprintf("handle %#x", h), add: func(p *guests.Probe) {
			for _, nr := range []uint64{hcNetRead, hcNetWrite} {
				p.Hypercall(nr, scratch, n(h), n(buffer), n(8), n(0))
				p.Do(p.Move(guests.At32(scratch+24)).Equals(n(resultEINVAL), 2))
			}
			for _, nr := range []uint64{hcBlockRead, hcBlockWrite} {
				p.Hypercall(nr, scratch, n(h), n(0), n(buffer), n(512), n(0))
				p.Do(p.Move(guests.At32(scratch+32)).Equals(n(resultEINVAL), 3))
			}
		}})
	}
	all = append(all, attack{name: "handle of the other type", add: func(p *guests.Probe) {
		p.Hypercall(hcNetRead, scratch, n(2), n(buffer), n(8), n(0))
		p.Do(p.Move(guests.At32(scratch+24)).Equals(n(resultEINVAL), 2))
		p.Hypercall(hcBlockWrite, scratch, n(1), n(0), n(buffer), n(512), n(0))
		p.Do(p.Move(guests.At32(scratch+32)).Equals(n(resultEINVAL), 3))
	}})
	for _, r := range [][2]uint64{{8192, 512}, {7680, 1024}, {0, 8193}, {^uint64(0), 512}, {1, ^uint64(0)}, {1 << 63, 1 << 63}} {
		all = append(all, attack{name: fmt.Sprintf("block range %#x+%#x", r[0], r[1]), add: func(p *guests.Probe) {
			for _, nr := range []uint64{hcBlockRead, hcBlockWrite} {
				p.Hypercall(nr, scratch, n(2), n(r[0]), n(buffer), n(r[1]), n(0))
				p.Do(p.Move(guests.At32(scratch+32)).Equals(n(resultEINVAL), 2))
			}
		}})
	}
	return all
}

// badPorts are port accesses that are no hypercall.
func badPorts() (all []attack) {
	n := guests.N
	add := func(name string, port int, f func(p *guests.Probe) guests.Step) {
		all = append(all, attack{name: name, want: fmt.Sprintf("port=0x%x", port),
			add: func(p *guests.Probe) { p.Do(f(p)) }})
	}
	for _, port := range []int{0, 0x20, 0x60, 0x80, 0xcf8, 0x4ff, 0x509, 0x50c, 0x5ff, 0x600, 0x601, 0xffff} {
		add(fmt.Sprintf("out to port %#x", port), port, func(p *guests.Probe) guests.Step { return p.Out32(n(uint64(port)), n(scratch)) })
		add(fmt.Sprintf("in from port %#x", port), port, func(p *guests.Probe) guests.Step { return p.In32(n(uint64(port))) })
	}
	add("8 bits", 0x502, func(p *guests.Probe) guests.Step { return p.Out8(n(0x502), n(scratch)) })
	add("16 bits", 0x502, func(p *guests.Probe) guests.Step { return p.Out16(n(0x502), n(scratch)) })
	all = append(all, attack{name: "hypercall 0", want: "num=0",
		add: func(p *guests.Probe) { p.Do(p.Out32(n(0x500), n(scratch))) }})
	// Where KVM takes one element at a time this is a hypercall like any other.
	// mov edx, 0x502; mov esi, buffer; mov ecx, 3; rep outsd
	code := []byte{0xba, 2, 5, 0, 0, 0xbe, 0, 0x30, 0x14, 0, 0xb9, 3, 0, 0, 0, 0xf3, 0x6f, 0xc3}
	all = append(all, attack{name: "string", want: "port=0x502|gpa=0x0, sz=16",
		add: func(p *guests.Probe) { p.Do(p.Execute(n(p.Code(code)))) }})
	return all
}

// badMemory are accesses that the guest's page tables forbid.
func badMemory() (all []attack) {
	n := guests.N
	const fault = "host/guest translation fault"
	add := func(cpl, name, want string, f func(p *guests.Probe) guests.Step) {
		all = append(all, attack{name: name, cpl: cpl, want: want, add: func(p *guests.Probe) { p.Do(f(p)) }})
	}
	store := func(addr uint64) func(p *guests.Probe) guests.Step {
		return func(p *guests.Probe) guests.Step { return p.Store64(n(addr), n(0)) }
	}
	add("", "write to text", fault, store(text))
	add("", "write to rodata", fault, func(p *guests.Probe) guests.Step { return p.Store64(n(p.Data(make([]byte, 8))), n(0)) })
	add("3", "write to boot info", fault, store(infoAddr))
	add("3", "execute data", fault, func(p *guests.Probe) guests.Step { return p.Execute(n(buffer)) })
	add("3", "execute the stack", fault, func(p *guests.Probe) guests.Step { return p.Execute(n(memEnd - 64)) })
	add("3", "execute the command line", fault, func(p *guests.Probe) guests.Step { return p.Execute(n(infoAddr)) })
	for name, addr := range map[string]uint64{
		"GDT": systemLinear, "gates": systemLinear + gateOffset, "TSS": systemLinear + tssPage<<12, "shim's stack": systemLinear + stackPage<<12,
	} {
		add("3", "read the "+name, fault, func(p *guests.Probe) guests.Step { return p.Load8(n(addr)) })
		add("3", "write the "+name, fault, store(addr))
		add("3", "execute the "+name, fault, func(p *guests.Probe) guests.Step { return p.Execute(n(addr)) })
	}
	for name, addr := range map[string]uint64{
		"zero": 0, "low memory": tables, "system area, past memory": memEnd, "high": 1 << 32,
		"page tables": systemLinear + pml4Page<<12, "kernel half": 0xffff800000000000, "non-canonical": 1 << 47,
	} {
		add("3", "write to "+name, "no handler", store(addr))
	}
	for name, msr := range map[string]uint64{"clock": 0x12, "new clock": 0x4b564d01, "stolen time": 0x4b564d03, "end of interrupt": 0x4b564d04} {
		code := []byte{0xb9, byte(msr), byte(msr >> 8), byte(msr >> 16), byte(msr >> 24), 0xb8, 1, 0x30, 0x14, 0, 0x31, 0xd2, 0x0f, 0x30, 0xc3}
		add("0", "have KVM write the "+name, "triple fault", func(p *guests.Probe) guests.Step { return p.Execute(n(p.Code(code))) })
	}
	return all
}

// badInstructions are instructions that only privilege level 0 may use, and
// ways to get there.
func badInstructions() (all []attack) {
	for _, i := range []struct {
		name, want string
		code       []byte
	}{
		{"mov cr3", "not emulated: MOV CR3", []byte{0x0f, 0x22, 0xd8}},
		{"mov from cr3", "not emulated: MOV RAX, CR3", []byte{0x0f, 0x20, 0xd8}},
		{"mov cr8", "not emulated: MOV CR8", []byte{0x44, 0x0f, 0x22, 0xc0}},
		{"clear cr0.wp", "not emulated: MOV CR0", []byte{0x31, 0xc0, 0x0f, 0x22, 0xc0}},
		{"mov dr7", "not emulated", []byte{0x0f, 0x23, 0xf8}},
		{"wrmsr lstar", "not emulated: WRMSR", []byte{0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x30}},
		{"wrmsr efer", "not emulated: WRMSR", []byte{0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x30}},
		{"rdmsr apic base", "not emulated: RDMSR", []byte{0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32}},
		{"wrmsr fs base, not canonical", "no handler", []byte{0xb9, 0, 1, 0, 0xc0, 0xba, 0, 0, 0, 0x80, 0x0f, 0x30}},
		{"invlpg", "not emulated: INVLPG", []byte{0x0f, 0x01, 0x38}},
		{"wbinvd", "not emulated: WBINVD", []byte{0x0f, 0x09}},
		{"lldt", "not emulated: LLDT", []byte{0x0f, 0x00, 0xd0}},
		{"lmsw", "not emulated: LMSW", []byte{0x0f, 0x01, 0xf0}},
		{"swapgs", "not emulated: SWAPGS", []byte{0x0f, 0x01, 0xf8}},
		{"lgdt from nowhere", "gpa=0xdead0000", []byte{0xb8, 0, 0, 0xad, 0xde, 0x0f, 0x01, 0x10}},
		{"ltr from text of no size", "gpa=0xffffff", []byte{0xb8, 0xff, 0xff, 0xff, 0, 0x0f, 0x00, 0x18}},
		{"hlt", "halted without an exit status", []byte{0xf4}},
		{"cli, hlt", "halted without an exit status", []byte{0xfa, 0xf4}},
		{"int 0x80", "#GP|#UD", []byte{0xcd, 0x80}},
		{"int 13", "#GP|#UD", []byte{0xcd, 0x0d}},
		{"int 3", "#BP", []byte{0xcc}},
		{"icebp", "#DB|#UD", []byte{0xf1}},
		{"undefined", "#UD", []byte{0x0f, 0x0b}},
		{"divide by zero", "#DE", []byte{0x31, 0xc9, 0xf7, 0xf1}},
		{"far return to level 0", "", []byte{0x58, 0x6a, 0x08, 0x50, 0x48, 0xcb}}, // pop rax; push 8; push rax; lretq
		{"far return past the stack", "gpa=0x|no handler", []byte{0x48, 0xbc, 0xf8, 0xff, 0xff, 0, 0, 0, 0, 0, 0x48, 0xcb}},
		{"32-bit far return", "not emulated", []byte{0x6a, 0, 0xcb}},
		{"load level 0's code into ds", "", []byte{0xb8, 8, 0, 0, 0, 0x8e, 0xd8}},
		{"single step", "#DB", []byte{0x9c, 0x80, 0x4c, 0x24, 1, 1, 0x9d, 0x90}}, // pushf; or byte [rsp+1], 1; popf; nop
		{"xsetbv", "#|not emulated", []byte{0x31, 0xc9, 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x01, 0xd1}},
		{"monitor", "#|not emulated", []byte{0x0f, 0x01, 0xc8}},
		{"sysexit", "rip=", []byte{0x0f, 0x35}},
		{"syscall", "#UD|#PF at 0x0", []byte{0x0f, 0x05}},
		{"sysenter", "#", []byte{0x0f, 0x34}},
	} {
		code := append(append([]byte(nil), i.code...), 0xc3)
		all = append(all, attack{name: i.name, cpl: "3", want: i.want, add: func(p *guests.Probe) {
			p.Do(p.Execute(guests.N(p.Code(code))))
		}})
	}
	return all
}
