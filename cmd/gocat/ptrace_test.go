package main

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// What -v says of tracing is true of another process of the same user's, which has no
// privileges: it can read a guest's memory, or attach to it, where undumpable is off
// and only there, also where the user has namespaces of their own.
func TestTracedByItsUser(t *testing.T) {
	testhost.NeedRoot(t, "to become another user")
	for _, backend := range []string{"spt", "hvt"} {
		if backend == "hvt" {
			needKVM(t)
			openKVM(t)
		}
		for option, wants := range map[string]bool{
			"--isolate=none": false, "--isolate=auto": true, "--require=user-ns": true, "--require=user-ns,net-ns,root": true, "--isolate=full": true,
		} {
			r := idle(t, true, option, "-v", "--backend="+backend)
			text, _, _ := strings.Cut(r.read("maps"), "-")
			read, attach := attack(t, r.cmd, text)
			r.cmd.Process.Kill()
			r.cmd.Wait()
			on := strings.Contains(r.stderr.String(), "confinement: undumpable: on\n")
			if on != wants {
				t.Errorf("%s %s: undumpable is on: %v: %s", backend, option, on, r.stderr)
			}
			want := error(nil)
			if wants {
				want = unix.EPERM
			}
			if read != want || attach != want {
				t.Errorf("%s %s: process_vm_readv: %v, PTRACE_ATTACH: %v; want %v", backend, option, read, attach, want)
			}
		}
	}
}

// openKVM lets everybody use /dev/kvm until t ends.
func openKVM(t *testing.T) {
	t.Helper()
	st, err := os.Stat("/dev/kvm")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("/dev/kvm", 0o666); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod("/dev/kvm", st.Mode()) })
}

// attack reads memory of a process at a hexadecimal address, and attaches to it, as
// its user nobody in a thread without privileges.
func attack(t *testing.T, cmd *exec.Cmd, address string) (read, attach error) {
	t.Helper()
	at := uintptr(0)
	for _, c := range []byte(address) {
		at = at<<4 | uintptr(bytes.IndexByte([]byte("0123456789abcdef"), c))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and ends with this function
		for _, nr := range []uintptr{unix.SYS_SETGROUPS, unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			args := [3]uintptr{65534, 65534, 65534}
			if nr == unix.SYS_SETGROUPS {
				args = [3]uintptr{}
			}
			if _, _, errno := unix.RawSyscall(nr, args[0], args[1], args[2]); errno != 0 {
				read = errno
				return
			}
		}
		b := make([]byte, 8)
		local := unix.Iovec{Base: &b[0]}
		local.SetLen(len(b))
		_, read = unix.ProcessVMReadv(cmd.Process.Pid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: at, Len: len(b)}}, 0)
		attach = unix.PtraceAttach(cmd.Process.Pid)
	}()
	<-done
	return read, attach
}
