package selftest

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/guest"
)

// sptAttacks returns all attacks of spt guests. The first is that of a guest that
// makes a harmless forbidden call.
func sptAttacks(s Setting) (all []*Attack) {
	all = append(all, &Attack{
		Group: "a forbidden call", Name: "getppid", Setting: s, Want: []Outcome{forbidden(unix.SYS_GETPPID)},
		add: func(p *guest.Probe) { p.Do(p.Syscall(unix.SYS_GETPPID)) },
	})
	all = append(all, everyCall(s)...)
	all = append(all, otherEntries(s)...)
	all = append(all, mutations(s)...)
	all = append(all, reporterCall(s)...)
	all = append(all, sptMemory(s)...)
	all = append(all, sptInstructions(s)...)
	return append(all, exhaustion(s)...)
}

// reporterCall has the one write that only gocat's fault reporter may make: the
// guest makes it from its own code, or from the reporter's with other arguments.
func reporterCall(s Setting) (all []*Attack) {
	const reporter, lineSize = sptStart, 0x200 // its system call instruction
	const group = "the fault reporter's own call"
	n := guest.N
	for _, size := range []uint64{0, 1, lineSize} {
		all = append(all, &Attack{Group: group, Name: fmt.Sprintf("write %d bytes of its line", size), Setting: s,
			Want: []Outcome{forbidden(unix.SYS_WRITE)},
			add:  func(p *guest.Probe) { p.Do(p.Syscall(unix.SYS_WRITE, n(2), n(sptLine), n(size))) }})
	}
	for _, c := range [][4]uint64{
		{unix.SYS_WRITE, 2, sptLine, lineSize + 1}, {unix.SYS_WRITE, 2, sptLine, 1 << 32}, {unix.SYS_WRITE, 2, sptLine + 1, 1},
		{unix.SYS_WRITE, 2, guest.Scratch, 8}, {unix.SYS_WRITE, 2, 1<<32 | sptLine, 8}, {unix.SYS_WRITE, 1<<32 | 2, sptLine, 8},
		{unix.SYS_WRITE, 0, sptLine, 8}, {unix.SYS_WRITEV, 2, sptLine, 1}, {unix.SYS_READ, 2, sptLine, 8}, {unix.SYS_GETPID, 0, 0, 0},
	} {
		all = append(all, &Attack{Group: group, Name: fmt.Sprintf("%s(%#x, %#x, %#x) from its code", callName(c[0]), c[1], c[2], c[3]), Setting: s,
			Want: []Outcome{forbidden(c[0])},
			add: func(p *guest.Probe) {
				p.Do(guest.Step{Code: n(reporter), AX: n(c[0]), DI: n(c[1]), SI: n(c[2]), DX: n(c[3])})
			}})
	}
	// What it does print it prints once, and is dead.
	all = append(all, &Attack{Group: group, Name: "print an empty line from its code and go on", Setting: s,
		Want: []Outcome{{Killed, sigsegv, "gocat: guest killed by SIGSEGV"}},
		add: func(p *guest.Probe) {
			p.Do(guest.Step{Code: n(reporter), AX: n(unix.SYS_WRITE), DI: n(2), SI: n(sptLine), DX: n(0)})
		}})
	return all
}

// sptInstructions has instructions that no process may execute.
func sptInstructions(s Setting) (all []*Attack) {
	for _, i := range []struct {
		name string
		code []byte
	}{
		{"hlt", []byte{0xf4}}, {"cli", []byte{0xfa}}, {"sti", []byte{0xfb}}, {"in", []byte{0xe4, 0x60}}, {"out", []byte{0xe6, 0x80}},
		{"rdmsr", []byte{0x0f, 0x32}}, {"wrmsr", []byte{0x0f, 0x30}}, {"mov from cr0", []byte{0x0f, 0x20, 0xc0}}, {"mov from cr3", []byte{0x0f, 0x20, 0xd8}},
		{"mov to cr3", []byte{0x0f, 0x22, 0xd8}}, {"mov to cr4", []byte{0x0f, 0x22, 0xe0}}, {"mov to dr7", []byte{0x0f, 0x23, 0xf8}},
		{"invd", []byte{0x0f, 0x08}}, {"wbinvd", []byte{0x0f, 0x09}}, {"invlpg", []byte{0x0f, 0x01, 0x38}}, {"clts", []byte{0x0f, 0x06}},
		{"lmsw", []byte{0x0f, 0x01, 0xf0}}, {"lldt", []byte{0x0f, 0x00, 0xd0}}, {"ltr", []byte{0x0f, 0x00, 0xd8}},
		{"swapgs", []byte{0x0f, 0x01, 0xf8}}, {"sysret", []byte{0x48, 0x0f, 0x07}}, {"sysexit", []byte{0x0f, 0x35}},
		{"int 0x81", []byte{0xcd, 0x81}}, {"int 14", []byte{0xcd, 0x0e}}, {"iretq to level 0", iretq(0x10, 0x18)},
	} {
		all = append(all, &Attack{Group: "privileged instructions", Name: i.name, Setting: s, Want: []Outcome{protection, {Killed, sigill, "SIGILL"}},
			add: func(p *guest.Probe) { execute(p, mov(rdi, guest.Scratch), i.code) }})
	}
	for selector := uint64(4); selector < 0x100; selector += 4 { // levels 0 and, with bit 2, the local table
		all = append(all, &Attack{Group: "far jumps to other segments", Name: fmt.Sprintf("selector %#x", selector), Setting: s,
			// A null selector, a level, a gate or no code: the fault is a protection.
			Want: []Outcome{protection, {Killed, 128 + int(unix.SIGBUS), "SIGBUS"}, {Killed, sigill, "SIGILL"}},
			add: func(p *guest.Probe) {
				at := p.Code([]byte{0x0f, 0x0b}) // ud2: of a process that got there
				execute(p, mov(rax, selector), []byte{0x50}, mov(rax, at), []byte{0x50, 0x48, 0xcb})
			}})
	}
	return all
}

// iretq is code that returns to itself with other segments.
func iretq(cs, ss uint64) []byte {
	code := append(mov(rax, ss), 0x50, 0x54) // push ss; push rsp
	code = append(code, 0x9c)                // pushfq
	code = append(code, append(mov(rax, cs), 0x50)...)
	// lea rax, [rip+3]; push rax; iretq
	return append(code, 0x48, 0x8d, 0x05, 3, 0, 0, 0, 0x50, 0x48, 0xcf)
}

// exhaustion has guests that would use up the host, and some that only a signal
// ends.
func exhaustion(s Setting) (all []*Attack) {
	add := func(group, name string, want Outcome, f func(*guest.Probe)) *Attack {
		a := &Attack{Group: group, Name: name, Setting: s, Want: []Outcome{want}, add: f}
		all = append(all, a)
		return a
	}
	for name, c := range map[string][]uint64{
		"fork": {unix.SYS_FORK}, "vfork": {unix.SYS_VFORK}, "clone": {unix.SYS_CLONE, uint64(unix.SIGCHLD)},
		"threads": {unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD, memEnd - 4096},
		"clone3":  {unix.SYS_CLONE3, guest.Scratch, 88},
	} {
		add("fork bombs", name, forbidden(c[0]), func(p *guest.Probe) {
			// Few enough for a host that nothing protects.
			p.Sweep(0, 8, 1, func(guest.Value) []guest.Step {
				var args []guest.Value
				for _, v := range c[1:] {
					args = append(args, guest.N(v))
				}
				return []guest.Step{p.Syscall(c[0], args...)}
			})
		})
	}
	const group = "exhausting memory"
	for name, c := range map[string][]uint64{
		"mmap": {unix.SYS_MMAP, 0, 1 << 30, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0), 0}, "brk": {unix.SYS_BRK, 1 << 40},
		"mremap": {unix.SYS_MREMAP, heap, 4096, 1 << 30, 1}, "memfd": {unix.SYS_MEMFD_CREATE, text, 0}, "mlockall": {unix.SYS_MLOCKALL, 3},
		"pipes": {unix.SYS_PIPE2, guest.Scratch, 0}, "sockets": {unix.SYS_SOCKET, 1, 1, 0}, "keys": {unix.SYS_ADD_KEY, text, text, text, 8, 0},
	} {
		add(group, name, forbidden(c[0]), func(p *guest.Probe) {
			var args []guest.Value
			for _, v := range c[1:] {
				args = append(args, guest.N(v))
			}
			p.Do(p.Syscall(c[0], args...))
		})
	}
	const small = 4
	touch := add(group, "touch all memory and the page behind it", segfault, func(p *guest.Probe) { execute(p, toucher(heap, small<<20+4096)) })
	touch.memory = small
	touch = add(group, "touch all memory and stay", Outcome{Stopped, 128 + int(unix.SIGTERM), ""}, func(p *guest.Probe) {
		execute(p, toucher(heap, small<<20-4096))
		forever(p)
	})
	touch.memory, touch.endless, touch.check = small, true, printedBegun
	touch.look = func(pid int) error { return peak(pid, small<<20+256<<10) }
	// call $: down the stack, through all memory, to what cannot be written
	add(group, "recurse for ever", segfault, func(p *guest.Probe) { execute(p, mov(rsp, memEnd), []byte{0xe8, 0xfb, 0xff, 0xff, 0xff}) })

	spin := add("guests that never end", "spin", Outcome{Stopped, 128 + int(unix.SIGTERM), ""}, func(p *guest.Probe) { forever(p) })
	spin.endless, spin.check = true, printedBegun
	return all
}

// peak checks that a process has never used more than limit bytes of memory.
func peak(pid int, limit uint64) error {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	rest, _, _ = strings.Cut(rest, "kB")
	kb, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
	if err != nil {
		return fmt.Errorf("VmHWM of process %d: %w", pid, err)
	}
	if kb<<10 > limit {
		return fmt.Errorf("the guest's process used %d KiB, more than %d", kb, limit>>10)
	}
	return nil
}

// words are numbers as they lie in memory.
func words(v ...uint64) (b []byte) {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
