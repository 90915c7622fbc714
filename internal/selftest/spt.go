package selftest

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
)

// sptAttacks returns all attacks of spt guests. The first is that of a guest that
// makes a harmless forbidden call.
func sptAttacks(s Setting) (all []*Attack) {
	all = append(all, &Attack{
		Group: "a forbidden call", Name: "getppid", Setting: s, Want: []Outcome{forbidden(unix.SYS_GETPPID)},
		add: func(p *guests.Probe) { p.Do(p.Syscall(unix.SYS_GETPPID)) },
	})
	all = append(all, everyCall(s)...)
	all = append(all, otherEntries(s)...)
	all = append(all, mutations(s)...)
	all = append(all, reporterCall(s)...)
	if s == SPT { // strict guests have the same
		all = append(all, reporterSurface(s)...)
	}
	all = append(all, sptTimer(s)...)
	all = append(all, answers(s)...)
	all = append(all, sptMemory(s)...)
	all = append(all, sptInstructions(s)...)
	return append(all, exhaustion(s)...)
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
			add: func(p *guests.Probe) { execute(p, mov(rdi, guests.Scratch), i.code) }})
	}
	for selector := uint64(4); selector < 0x100; selector += 4 { // levels 0 and, with bit 2, the local table
		all = append(all, &Attack{Group: "far jumps to other segments", Name: fmt.Sprintf("selector %#x", selector), Setting: s,
			// A null selector, a level, a gate or no code: the fault is a protection.
			Want: []Outcome{protection, {Killed, 128 + int(unix.SIGBUS), "SIGBUS"}, {Killed, sigill, "SIGILL"}},
			add: func(p *guests.Probe) {
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
	add := func(group, name string, want Outcome, f func(*guests.Probe)) *Attack {
		a := &Attack{Group: group, Name: name, Setting: s, Want: []Outcome{want}, add: f}
		all = append(all, a)
		return a
	}
	for name, c := range map[string][]uint64{
		"fork": {unix.SYS_FORK}, "vfork": {unix.SYS_VFORK}, "clone": {unix.SYS_CLONE, uint64(unix.SIGCHLD)},
		"threads": {unix.SYS_CLONE, unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD, memEnd - 4096},
		"clone3":  {unix.SYS_CLONE3, guests.Scratch, 88},
	} {
		add("fork bombs", name, forbidden(c[0]), func(p *guests.Probe) {
			// Few enough for a host that nothing protects.
			p.Sweep(0, 8, 1, func(guests.Value) []guests.Step {
				var args []guests.Value
				for _, v := range c[1:] {
					args = append(args, guests.N(v))
				}
				return []guests.Step{p.Syscall(c[0], args...)}
			})
		})
	}
	const group = "exhausting memory"
	for name, c := range map[string][]uint64{
		"mmap": {unix.SYS_MMAP, 0, 1 << 30, 3, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0), 0}, "brk": {unix.SYS_BRK, 1 << 40},
		"mremap": {unix.SYS_MREMAP, heap, 4096, 1 << 30, 1}, "memfd": {unix.SYS_MEMFD_CREATE, text, 0}, "mlockall": {unix.SYS_MLOCKALL, 3},
		"pipes": {unix.SYS_PIPE2, guests.Scratch, 0}, "sockets": {unix.SYS_SOCKET, 1, 1, 0}, "keys": {unix.SYS_ADD_KEY, text, text, text, 8, 0},
	} {
		add(group, name, forbidden(c[0]), func(p *guests.Probe) {
			var args []guests.Value
			for _, v := range c[1:] {
				args = append(args, guests.N(v))
			}
			p.Do(p.Syscall(c[0], args...))
		})
	}
	const small = 4
	touch := add(group, "touch all memory and the page behind it", segfault, func(p *guests.Probe) { execute(p, toucher(heap, small<<20+4096)) })
	touch.memory = small
	touch = add(group, "touch all memory and stay", Outcome{Stopped, 128 + int(unix.SIGTERM), ""}, func(p *guests.Probe) {
		execute(p, toucher(heap, small<<20-4096))
		forever(p)
	})
	touch.memory, touch.endless, touch.check = small, true, printedBegun
	touch.look = func(pid int) error { return peak(pid, small<<20+256<<10) }
	// call $: down the stack, through all memory, to what cannot be written
	add(group, "recurse for ever", segfault, func(p *guests.Probe) { execute(p, mov(rsp, memEnd), []byte{0xe8, 0xfb, 0xff, 0xff, 0xff}) })

	spin := add("guests that never end", "spin", Outcome{Stopped, 128 + int(unix.SIGTERM), ""}, func(p *guests.Probe) { forever(p) })
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
