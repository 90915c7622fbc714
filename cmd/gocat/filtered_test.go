package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"gocat/internal/ptrace"
	"gocat/internal/testhost"
	"gocat/seccomp"
)

// guestsOwn are the calls of a start that are also the guest's own, or the tender's
// while it serves one: what comes of those when they are refused is the guest's
// business, and without write nothing can be said. Without exit_group a guest faults.
var guestsOwn = []uint32{unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EXIT_GROUP}

// unsaid are the calls of which nothing is said where they are trapped: there is no
// handler yet, or the tender's own filter, which getppid asks, lets none return. The
// kernel ends the process.
var unsaid = []uint32{unix.SYS_ARCH_PRCTL, unix.SYS_RT_SIGACTION, unix.SYS_GETPPID}

// A filter around gocat, as containers have, that refuses one of the calls of its
// start, whichever: the guest runs without it, or one line names the call and who may
// refuse it.
func TestStartRefused(t *testing.T) {
	testhost.Slow(t)
	t.Parallel()
	needKVM(t)
	dir := t.TempDir()
	gocat(t, "seal", "-o", dir+"/spt").wantSuccess(t)
	gocat(t, "seal", "--backend=hvt", "-o", dir+"/hvt").wantSuccess(t)
	for _, args := range [][]string{{program, "run", "--backend=spt"}, {program, "run", "--backend=hvt"}, {dir + "/spt"}, {dir + "/hvt"}} {
		calls := callsOf(t, args)
		if len(calls) < 20 {
			t.Fatalf("%q: only %d calls: %v", args, len(calls), calls)
		}
		for _, nr := range calls {
			for what, action := range map[string]uint32{
				"EPERM": unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), "ENOSYS": unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS), "trapped": unix.SECCOMP_RET_TRAP,
			} {
				name := seccomp.SyscallName(nr)
				r := filtered(t, nr, action, 0, args)
				works := r.status == 0 && r.stdout == "hello\n" && r.stderr == ""
				told := r.status == 125 && r.stdout == "" && strings.Count(r.stderr, "\n") == 1 && strings.HasPrefix(r.stderr, "gocat: ") &&
					strings.Contains(r.stderr, name) && strings.Contains(r.stderr, "a seccomp filter around gocat")
				killed := r.status == -1 && r.stdout == "" && r.stderr == ""
				switch {
				case slices.Contains(guestsOwn, nr):
					if works || strings.Count(r.stderr, "\n") > 1 {
						t.Errorf("%q, %s %s: %+v", args, name, what, r)
					}
				case works, told:
				case what == "trapped" && killed && slices.Contains(unsaid, nr):
				default:
					t.Errorf("%q, %s %s: %+v", args, name, what, r)
				}
			}
		}
	}
}

// There is another way to close descriptors than close_range, and no other way than
// memfd_create to have no file, but a sealed guest.
func TestStartWithout(t *testing.T) {
	needKVM(t)
	for _, backend := range []string{"spt", "hvt"} {
		args := []string{program, "run", "-v", "--backend=" + backend}
		r := refused(t, unix.SYS_CLOSE_RANGE, unix.ENOSYS, 0, args)
		if r.status != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "confinement: descriptors: on\n") {
			t.Errorf("%s: %+v", backend, r)
		}
	}
	r := refused(t, unix.SYS_MEMFD_CREATE, unix.EPERM, 0, []string{program, "run", "--backend=spt"})
	if r.status != 125 || !strings.Contains(r.stderr, "use gocat seal") {
		t.Errorf("%+v", r)
	}
}

// callsOf lists the system calls that a program makes, whose guest copies a line.
func callsOf(t *testing.T, args []string) (calls []uint32) {
	t.Helper()
	done := make(chan error)
	go func() { // on a thread of its own, which traces
		runtime.LockOSThread()
		done <- func() error {
			in, w := testhost.Pipe(t)
			w.WriteString("hello\n")
			w.Close()
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Stdin, cmd.SysProcAttr = in, &syscall.SysProcAttr{Ptrace: true}
			if err := cmd.Start(); err != nil {
				return err
			}
			defer cmd.Process.Release()
			pid, status := cmd.Process.Pid, unix.WaitStatus(0)
			if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
				return err
			}
			if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL); err != nil {
				return err
			}
			for !status.Exited() && !status.Signaled() {
				signal := status.StopSignal()
				if signal == unix.SIGTRAP|0x80 {
					if i, err := ptrace.CallInfo(pid); err != nil {
						return err
					} else if i.Op == ptrace.Entry {
						calls = append(calls, uint32(i.Words[0]))
					}
				}
				if signal&^0x80 == unix.SIGTRAP {
					signal = 0
				}
				if err := unix.PtraceSyscall(pid, int(signal)); err != nil {
					return err
				}
				if _, err := unix.Wait4(pid, &status, 0, nil); err != nil {
					return err
				}
			}
			if status != 0 {
				return fmt.Errorf("status %#x", status)
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	slices.Sort(calls)
	return slices.Compact(calls)
}

// A Landlock that tells its version and refuses what is in it: the rights of an
// earlier one do.
func TestLandlockOfLess(t *testing.T) {
	needKVM(t)
	const version4, version6 = 16, 24 // sizes of struct landlock_ruleset_attr
	for _, size := range []uint32{version4, version6} {
		for _, args := range [][]string{{"--backend=hvt", "-v"}, {"--backend=spt", "-v", "--require=landlock"}} {
			r := refused(t, unix.SYS_LANDLOCK_CREATE_RULESET, unix.EINVAL, size, append([]string{program, "run"}, args...))
			if r.status != 0 || r.stdout != "hello\n" || !strings.Contains(r.stderr, "confinement: landlock: on") {
				t.Errorf("%q, from %d bytes on: %+v", args, size, r)
			}
		}
	}
	r := refused(t, unix.SYS_LANDLOCK_CREATE_RULESET, unix.EPERM, version4, []string{program, "run", "--backend=hvt"})
	if r.status != 125 || !strings.Contains(r.stderr, "--confine=available goes on without") || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("%+v", r)
	}
	r = refused(t, unix.SYS_LANDLOCK_CREATE_RULESET, unix.EPERM, version4, []string{program, "run", "--backend=hvt", "--confine=available"})
	if r.status != 0 || r.stdout != "hello\n" {
		t.Errorf("%+v", r)
	}
}

// refused runs a program under a filter that answers the call nr with an error, if
// its second argument is at least that number.
func refused(t *testing.T, nr uint32, errno unix.Errno, least uint32, args []string) result {
	t.Helper()
	return filtered(t, nr, unix.SECCOMP_RET_ERRNO|uint32(errno), least, args)
}

// filtered is refused with any action of a filter's. A program that waits fails t.
func filtered(t *testing.T, nr, action, least uint32, args []string) (r result) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = []string{fmt.Sprintf("%s=%d %d %d", refuseVariable, nr, least, action)}
	var out, err bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &out, &err
	cmd.Run()
	if ctx.Err() != nil {
		t.Errorf("%q: it does not end where call %d is filtered with %#x", args, nr, action)
	}
	r.status = cmd.ProcessState.ExitCode()
	r.stdout, r.stderr = out.String(), err.String()
	return r
}

// refuseVariable tells the test's own program, started again, which call a filter
// must answer, and how, in the program that its arguments name.
const refuseVariable = "GOCAT_TEST_REFUSE"

// refuseAndExec becomes that program. No call of its own lies between.
func refuseAndExec() {
	var nr, least, action uint32
	fmt.Sscan(os.Getenv(refuseVariable), &nr, &least, &action)
	const secondArgument = 24 // its offset in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: secondArgument},
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: least, Jf: 1},
		{Code: unix.BPF_RET, K: action},
		{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	path, _ := unix.BytePtrFromString(os.Args[1])
	args, _ := syscall.SlicePtrFromStrings(os.Args[1:])
	env := []*byte{nil}
	unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)))
	unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&env[0])))
	unix.RawSyscall(unix.SYS_EXIT_GROUP, 99, 0, 0)
}
