// Package debug runs a guest under a supervisor that lets debuggers look into it
// and writes core files. The guest is as confined as without it, except for what
// debugging needs: docs/debug.md lists that.
package debug

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"gocat/internal/confine"
	"gocat/internal/core"
	"gocat/internal/gdb"
	"gocat/internal/image"
	"gocat/internal/supervise"
	"gocat/internal/tender"
	"gocat/internal/x86"
	"gocat/kvmhvt"
)

// target is a guest that can be debugged and dumped.
type target interface {
	gdb.Target
	// AVX reports whether the guest has AVX.
	AVX() bool
	// Memory lists the guest's memory.
	Memory() ([]core.Region, error)
	// OnEnd has end called when the guest is about to end, stopped, with its exit
	// status as the shell has it, and the signal of the fault or the forbidden call
	// that ends it, or SIGQUIT, or 0.
	OnEnd(end func(status, signal int))
	// FaultRegisters returns the guest's registers at its last fault.
	FaultRegisters() (*x86.Registers, error)
	// PID is the guest's process.
	PID() int
}

// Run runs the guest as its options --gdb and --dumpcore say, and returns its exit
// status. The calling thread is locked for good: the guest is killed when it ends.
func Run(g *tender.Guest) (status int, err error) {
	runtime.LockOSThread()
	// The guest's devices first: what this process opens could be taken for an
	// inherited descriptor that is not there.
	var process supervise.Process
	process.Forward()
	held := process.Hold()
	t, stop, err := start(g, &process)
	if err != nil {
		return 0, err
	}
	if stop.Gone() {
		return exit(stop), nil
	}
	defer process.Kill()
	helper := confine.Helper{Calls: []string{"ptrace", "wait4", "pidfd_send_signal", "pread64", "pwrite64"}}
	if g.DumpCore != "" {
		d, err := newDumper(g, t)
		if err != nil {
			return 0, err
		}
		t.OnEnd(d.end)
		helper.Calls = append(helper.Calls, dumpCalls...)
		helper.Write = append(helper.Write, d.name)
	}
	var ln net.Listener
	if g.GDB != "" {
		if ln, err = listen(g.GDB); err != nil {
			return 0, err
		}
		helper.Calls = append(helper.Calls, "accept4", "getsockname", "getpeername", "setsockopt", "shutdown")
		if path, ok := cutUnix(g.GDB); ok { // the socket goes with the guest
			helper.Calls = append(helper.Calls, "unlinkat")
			helper.Remove = append(helper.Remove, filepath.Dir(path))
		}
		announce(g, ln)
	}
	if err := helper.Confine(); err != nil && g.Confine == kvmhvt.ConfineRequired {
		return 0, fmt.Errorf("could not confine the debugger's side: %w; --confine=available goes on without", err)
	}
	if ln == nil {
		process.Release()
		stop, err = gdb.Run(t, stop)
	} else {
		stop, err = gdb.Control(ln, t, t.AVX(), stop, held, process.Release)
	}
	return exit(stop), err
}

// start starts the guest up to its first instruction.
func start(g *tender.Guest, p *supervise.Process) (target, gdb.Stop, error) {
	if g.Image.Target == image.HVT {
		return startHVT(g, p)
	}
	return startSPT(g, p)
}

// exit is the exit status for a guest that ended so.
func exit(s gdb.Stop) int {
	if s.Reason == gdb.Killed {
		return 128 + s.Signal
	}
	return s.Code
}

// announce prints how to attach, and that the guest is being debugged.
func announce(g *tender.Guest, ln net.Listener) {
	addr := ln.Addr().String()
	tender.Say("gocat: debugging: whoever connects to " + addr + " owns the guest, which waits for: gdb -ex 'target remote " + addr + "' " + path(g))
}

// path is the image's, or what gocat guest calls the bundled cat's.
func path(g *tender.Guest) string {
	if g.Kernel == "" {
		return "cat." + g.Image.Target.String()
	}
	return g.Kernel
}

// listen opens the socket that --gdb names: [HOST]:PORT, on the loopback interface
// without a HOST, or unix:PATH, for the user alone.
func listen(addr string) (net.Listener, error) {
	if path, ok := cutUnix(addr); ok {
		old := unix.Umask(0o177)
		defer unix.Umask(old)
		ln, err := net.Listen("unix", path)
		switch {
		case errors.Is(err, unix.EADDRINUSE):
			return nil, fmt.Errorf("--gdb: could not listen on %s: there is a file of that name: remove it, or name another", path)
		case len(path) > maxSocket:
			return nil, fmt.Errorf("--gdb: the path of a socket has at most %d bytes, and %s has %d", maxSocket, path, len(path))
		case err != nil:
			return nil, fmt.Errorf("--gdb: could not listen on %s: %w", path, short(err))
		}
		return ln, nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "unix" {
		return nil, fmt.Errorf("--gdb=%s: want [HOST]:PORT or unix:PATH", addr)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("--gdb: could not listen on %s: %w", addr, short(err))
	}
	return ln, nil
}

// short is the innermost of a network error: its text repeats the address.
func short(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return err
}

// maxSocket is how long the path of a socket may be, in bytes (unix(7)).
const maxSocket = 107

func cutUnix(addr string) (path string, ok bool) {
	const prefix = "unix:"
	if len(addr) > len(prefix) && addr[:len(prefix)] == prefix {
		return addr[len(prefix):], true
	}
	return "", false
}
