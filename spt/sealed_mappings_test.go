package spt

import (
	"encoding/binary"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/guests"
	"gocat/internal/testhost"
)

// tracee is a sealed guest that is stopped before its first instruction.
type tracee struct {
	*testing.T
	pid    int
	stdout *os.File
	stderr *os.File
}

// trace starts the sealed executable at path. It locks the test to its thread.
func trace(t *testing.T, path string) *tracee {
	t.Helper()
	runtime.LockOSThread()
	p := &tracee{t, 0, testhost.Memfd(t), testhost.Memfd(t)}
	var err error
	p.pid, err = syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{
		Files: []uintptr{testhost.Null(t).Fd(), p.stdout.Fd(), p.stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Kill(p.pid, unix.SIGKILL) })
	p.wait(unix.WaitStatus.Stopped)
	return p
}

func (p *tracee) wait(want func(unix.WaitStatus) bool) unix.WaitStatus {
	p.Helper()
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || !want(status) {
			p.Fatalf("wait: %v, status %#x", err, status)
		}
		return status
	}
}

// call makes the stopped process make a system call, with the stub's first
// instruction, and returns the result.
func (p *tracee) call(nr uint64, args ...uint64) uint64 {
	p.Helper()
	var old, regs unix.PtraceRegs
	p.try(unix.PtraceGetRegs(p.pid, &old))
	regs = old
	regs.Rip, regs.Rax, regs.Orig_rax = stubBase, nr, ^uint64(0)
	for i, a := range args {
		*[]*uint64{&regs.Rdi, &regs.Rsi, &regs.Rdx, &regs.R10, &regs.R8, &regs.R9}[i] = a
	}
	p.try(unix.PtraceSetRegs(p.pid, &regs))
	p.try(unix.PtraceSingleStep(p.pid))
	p.wait(unix.WaitStatus.Stopped)
	p.try(unix.PtraceGetRegs(p.pid, &regs))
	p.try(unix.PtraceSetRegs(p.pid, &old))
	return regs.Rax
}

// must is call for one that must succeed.
func (p *tracee) must(nr uint64, args ...uint64) uint64 {
	p.Helper()
	result := p.call(nr, args...)
	if result > ^uint64(4095) {
		p.Fatalf("system call %d of the guest's process: %v", nr, unix.Errno(-result))
	}
	return result
}

func (p *tracee) try(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// auxiliary changes an entry of the auxiliary vector.
func (p *tracee) auxiliary(tag, newTag, value uint64) {
	p.Helper()
	var regs unix.PtraceRegs
	p.try(unix.PtraceGetRegs(p.pid, &regs))
	stack := make([]byte, 4<<10)
	n, err := unix.PtracePeekData(p.pid, uintptr(regs.Rsp), stack)
	word := func(i int) uint64 {
		if 8*i+8 > n {
			p.Fatalf("no entry %d in the auxiliary vector, in %d bytes: %v", tag, n, err)
		}
		return binary.LittleEndian.Uint64(stack[8*i:])
	}
	i := int(word(0)) + 2 // past argc, argv and its end
	for ; word(i) != 0; i++ {
	}
	for i++; word(i) != tag; i += 2 {
	}
	entry := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, newTag), value)
	_, err = unix.PtracePokeData(p.pid, uintptr(regs.Rsp)+uintptr(8*i), entry)
	p.try(err)
}

// Tags of the auxiliary vector (linux/auxvec.h).
const (
	atIgnore      = 1
	atSysinfoEhdr = 33
)

// TestSealedSystemMappings has processes whose kernel sealed the vdso and its
// data, as with CONFIG_MSEAL_SYSTEM_MAPPINGS: of the address space nothing else
// may remain for the guest.
func TestSealedSystemMappings(t *testing.T) {
	u := probe(t, func(p *guests.Probe) { p.Do(p.Puts("ready"), p.Syscall(unix.SYS_READ, guests.N(9))) })
	path := u.seal(t)
	const memory = end
	for name, end := range map[string]uint64{ // of the vdso
		"in place":     0,
		"below top":    taskEnd,
		"near top":     taskEnd - 0x9000,
		"low":          0x2aaaaaaaa000,
		"beside guest": 2 * memory,
	} {
		t.Run(name, func(t *testing.T) {
			p := trace(t, path)
			sealed := p.sealSystemMappings(end)
			maps, r := p.end()
			if r.Status != 159 || r.Stdout != "ready" || !strings.Contains(r.Stderr, "forbidden system call read; rax 0x0 rdi 0x9") {
				t.Errorf("status %d, stdout %q, stderr %q", r.Status, r.Stdout, r.Stderr)
			}
			for _, s := range sealed {
				if !slices.Contains(maps, s) {
					t.Errorf("the kernel let a sealed mapping go: %+v", s)
				}
			}
			checkMaps(t, slices.DeleteFunc(maps, func(m testhost.Mapping) bool { return slices.Contains(sealed, m) }), memory)
		})
	}
	t.Run("hidden", func(t *testing.T) {
		p := trace(t, path)
		p.sealSystemMappings(0)
		p.auxiliary(atSysinfoEhdr, atIgnore, 0)
		_, r := p.end()
		check(t, r, 1, "", "gocat: could not unmap the tender's memory: invalid argument\n")
	})
}

// sealSystemMappings seals the vdso and its data. If end is not 0, it moves them
// there first.
func (p *tracee) sealSystemMappings(end uint64) []testhost.Mapping {
	p.Helper()
	system := testhost.Maps(p, p.pid)
	others := len(system)
	system = slices.DeleteFunc(system, func(m testhost.Mapping) bool {
		return !strings.HasPrefix(m.Name, "[vvar") && m.Name != "[vdso]"
	})
	others -= len(system)
	if len(system) == 0 {
		testhost.Skip(p, "this kernel has no vdso")
	}
	last := system[len(system)-1]
	if last.Name != "[vdso]" || others == 0 {
		p.Fatalf("system mappings %+v and %d others", system, others)
	}
	for i := range system {
		m := &system[i]
		size := m.End - m.Start
		if end != 0 {
			at := end - last.End + m.Start
			p.must(unix.SYS_MREMAP, m.Start, size, size, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, at)
			m.Start, m.End = at, at+size
		}
		if result := p.call(unix.SYS_MSEAL, m.Start, size, 0); result != 0 {
			testhost.Skip(p, "this kernel has no mseal: "+unix.Errno(-result).Error())
		}
	}
	p.auxiliary(atSysinfoEhdr, atSysinfoEhdr, system[len(system)-1].Start)
	return system
}

// end lets the process run to its end, and returns its last mappings as well.
func (p *tracee) end() ([]testhost.Mapping, testhost.Result) {
	p.Helper()
	p.try(unix.PtraceSetOptions(p.pid, unix.PTRACE_O_TRACEEXIT))
	for signal := unix.Signal(0); ; {
		p.try(unix.PtraceCont(p.pid, int(signal)))
		s := p.wait(unix.WaitStatus.Stopped)
		if s.TrapCause() == unix.PTRACE_EVENT_EXIT {
			break
		}
		signal = s.StopSignal()
	}
	maps := testhost.Maps(p, p.pid)
	p.try(unix.PtraceDetach(p.pid))
	status := p.wait(func(s unix.WaitStatus) bool { return s.Exited() || s.Signaled() })
	return maps, testhost.Result{
		Status: testhost.Status(status),
		Stdout: testhost.Contents(p, p.stdout),
		Stderr: testhost.Contents(p, p.stderr),
	}
}
