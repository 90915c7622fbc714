package selftest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/image"
)

// Where attackers aim: guest addresses that the ABIs fix, and those of a probe.
const (
	memEnd   = guestMemory << 20
	sptStart = 0x10000 // SPT_HOST_MEM_BASE: gocat's stub
	sptBoot  = 0x11000 // SPT_BOOT_INFO_BASE
	sptLine  = 0x17000 // the fault reporter's line, and further up its stack
	sptTexts = 0x20000 // its texts, read only
	sptPlan  = 0x30000 // what gocat's start left
	text     = image.MinAddr
	rodata   = image.MinAddr + 0x1000
	heap     = guests.Scratch + guests.ScratchSize
	taskEnd  = 0x7ffffffff000 // of user addresses (TASK_SIZE_MAX)
)

// segfault is the end of a guest by a memory fault.
var segfault = Outcome{Killed, sigsegv, "gocat: guest killed by SIGSEGV: memory fault at address "}

// protection is that by an instruction that no process may execute, or an address
// that is none.
var protection = Outcome{Killed, sigsegv, "gocat: guest killed by SIGSEGV: privileged instruction or non-canonical address"}

func sptMemory(s Setting) (all []*Attack) {
	add := func(group, name string, want Outcome, f func(*guests.Probe)) *Attack {
		a := &Attack{Group: group, Name: name, Setting: s, Want: []Outcome{want}, add: f}
		all = append(all, a)
		return a
	}
	n := guests.N
	for _, at := range []uint64{text, text + 0x800, rodata, rodata + 0x800, sptStart, sptStart + 0x800, sptTexts, sptTexts + 0x1000} {
		add("writing text and constants", fmt.Sprintf("write to %#x", at), segfault, func(p *guests.Probe) { p.Do(p.Store8(n(at), n(0xc3))) })
	}
	for _, at := range []uint64{rodata, guests.Scratch, heap, memEnd / 2, memEnd - 64, sptBoot, sptLine, sptLine + 0x2000, sptTexts, sptPlan, sptPlan + 0x60000} {
		add("executing data", fmt.Sprintf("jump to %#x", at), segfault, func(p *guests.Probe) {
			if at > rodata || at == sptLine || at == sptBoot {
				p.Do(p.Store8(n(at), n(0xc3)))
			}
			p.Do(p.Execute(n(at)))
		})
	}
	for _, at := range []uint64{rodata, guests.Scratch, heap, memEnd - 64, sptBoot, sptLine, sptTexts} {
		add("executing data", fmt.Sprintf("jump to %#x where reading implies executing", at), segfault,
			func(p *guests.Probe) { p.Do(p.Execute(n(at))) }).personality = readImpliesExec
	}
	for at := uint64(0); at < sptStart; at += 0xfff {
		add("page zero", fmt.Sprintf("read %#x", at), segfault, func(p *guests.Probe) { p.Do(p.Load8(n(at))) })
		add("page zero", fmt.Sprintf("write %#x", at), segfault, func(p *guests.Probe) { p.Do(p.Store8(n(at), n(1))) })
	}
	add("page zero", "jump to it", Outcome{Killed, sigsegv, "gocat: guest killed by SIGSEGV"}, func(p *guests.Probe) { p.Do(p.Execute(n(0))) })
	for _, at := range []uint64{memEnd, memEnd + 1<<20, 1 << 32, 0x555555554000, 0x7ffff7fc1000, taskEnd - 1, taskEnd, 0xffffffff81000000, 0xffff888000000000} {
		add("memory of others", fmt.Sprintf("read %#x", at), segfault, func(p *guests.Probe) { p.Do(p.Load8(n(at))) })
		add("memory of others", fmt.Sprintf("write %#x", at), segfault, func(p *guests.Probe) { p.Do(p.Store8(n(at), n(1))) })
	}
	for _, at := range []uint64{1 << 47, 1 << 63, 0x8000ffffffffffff} {
		add("non-canonical addresses", fmt.Sprintf("read %#x", at), protection, func(p *guests.Probe) { p.Do(p.Load8(n(at))) })
		add("non-canonical addresses", fmt.Sprintf("write %#x", at), protection, func(p *guests.Probe) { p.Do(p.Store8(n(at), n(1))) })
	}
	all = append(all, caller(s)...)
	return append(all, hunts(s)...)
}

// caller has calls that would reach the process that started the guest.
func caller(s Setting) (all []*Attack) {
	at := uint64(uintptr(unsafe.Pointer(&callerMemory)))
	pid := uint64(os.Getpid())
	for name, c := range map[string]struct {
		nr   uint64
		args func(p *guests.Probe) []uint64
	}{
		"write its memory": {unix.SYS_PROCESS_VM_WRITEV, func(p *guests.Probe) []uint64 {
			local := p.Data(words(text, callerSize))
			return []uint64{pid, local, 1, p.Data(words(at, callerSize)), 1, 0}
		}},
		"read its memory": {unix.SYS_PROCESS_VM_READV, func(p *guests.Probe) []uint64 {
			return []uint64{pid, p.Data(words(guests.Scratch, callerSize)), 1, p.Data(words(at, callerSize)), 1, 0}
		}},
		"trace it":             {unix.SYS_PTRACE, func(*guests.Probe) []uint64 { return []uint64{unix.PTRACE_SEIZE, pid} }},
		"signal it":            {unix.SYS_KILL, func(*guests.Probe) []uint64 { return []uint64{pid, 0} }},
		"signal its threads":   {unix.SYS_TGKILL, func(*guests.Probe) []uint64 { return []uint64{pid, pid, 0} }},
		"open it":              {unix.SYS_PIDFD_OPEN, func(*guests.Probe) []uint64 { return []uint64{pid, 0} }},
		"take its descriptors": {unix.SYS_PIDFD_GETFD, func(*guests.Probe) []uint64 { return []uint64{3, 0, 0} }},
		"compare with it":      {unix.SYS_KCMP, func(*guests.Probe) []uint64 { return []uint64{pid, pid, 0, 0, 0} }},
		"change its limits":    {unix.SYS_PRLIMIT64, func(*guests.Probe) []uint64 { return []uint64{pid, unix.RLIMIT_NOFILE, 0, guests.Scratch} }},
	} {
		all = append(all, &Attack{
			Group: "the process that started it", Name: name, Setting: s, Want: []Outcome{forbidden(c.nr)},
			add: func(p *guests.Probe) {
				var args []guests.Value
				for _, v := range c.args(p) {
					args = append(args, guests.N(v))
				}
				p.Do(p.Syscall(c.nr, args...))
			},
		})
	}
	slices.SortFunc(all, func(a, b *Attack) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// hunts has guests that look for what the tender and the kernel may have left in
// their address space.
func hunts(s Setting) (all []*Attack) {
	done := []Outcome{{Nothing, cameBack, ""}}
	add := func(name string, code []byte) *Attack {
		a := &Attack{Group: "hunting stack, vdso and tender", Name: name, Setting: s, Want: done,
			add: func(p *guests.Probe) { execute(p, code) }}
		all = append(all, a)
		return a
	}
	const gib = 1 << 30
	add("walk 1 GiB past its memory", walker(memEnd, memEnd+gib, 4096))
	add("walk all of user addresses in steps of 1 GiB", walker(gib, gib<<17, gib))
	add("look at 300000 places all over user addresses", wanderer(300_000))
	for name, at := range map[string]uint64{"stack": taskEnd - 512<<20, "programs": 0x555555554000, "libraries": 0x7ffff7000000} {
		add("walk where the "+name+" would be without randomisation", walker(at, min(at+512<<20, taskEnd), 4096)).personality = addrNoRandomize
	}
	add("walk 1 GiB past its memory, mappings from the bottom up", walker(memEnd, memEnd+gib, 4096)).personality = addrCompatLayout
	a := add("dump all that it can read and search it for gocat's environment", dumper(0, 2*memEnd))
	a.check = func(e *ending) error {
		if len(e.stdout) < memEnd/2 {
			return fmt.Errorf("the guest printed %d bytes of its memory of %d", len(e.stdout), memEnd)
		}
		for _, what := range []string{secret, secret[len("GOCAT_SELFTEST_SECRET="):], "--profile", "/proc/self/fd/", canary} {
			if strings.Contains(e.stdout, what) {
				return fmt.Errorf("the guest's memory has %q in it", what)
			}
		}
		return nil
	}
	a = add("wait to be looked at from outside", nil)
	a.add = func(p *guests.Probe) { forever(p) }
	a.Want, a.endless, a.look, a.check = []Outcome{{Stopped, 128 + int(unix.SIGTERM), ""}}, true, sptMaps, printedBegun
	return all
}

func printedBegun(e *ending) error {
	if e.stdout != begun {
		return fmt.Errorf("standard output %.200q", e.stdout)
	}
	return nil
}

// sptMaps checks that a guest's process has no memory but the guest's. A process
// that may not be looked at has passed.
func sptMaps(pid int) error {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errors.New("the guest's process has no memory")
	}
	for line := range strings.Lines(string(b)) {
		var start, end uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &start, &end); err != nil {
			return fmt.Errorf("maps of process %d: %q", pid, line)
		}
		kernel := strings.Contains(line, "[vsyscall]") || strings.Contains(line, "[vdso]") || strings.Contains(line, "[vvar")
		if (start < sptStart || end > memEnd) && !kernel {
			return fmt.Errorf("the guest's process has a mapping that is not the guest's: %s", strings.TrimSpace(line))
		}
		if strings.Contains(line, "wx") {
			return fmt.Errorf("the guest has memory that it can write and execute: %s", strings.TrimSpace(line))
		}
	}
	return nil
}
