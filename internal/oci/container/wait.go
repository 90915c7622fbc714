package container

import (
	"encoding/binary"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
	"gocat/internal/plan"
	"gocat/internal/tender"
)

// becomeWaiting replaces the process by one that waits until the container is started,
// with the signals blocked that ask it to end, and then executes a program. It has one
// thread and no handlers, so that no signal is lost, and holds nothing of the runtime.
// The limits that the runtime cannot work under are set last. It returns only on error.
func becomeWaiting(exe int, args []string, process *specs.Process) error {
	if err := block(); err != nil {
		return err
	}
	p := plan.New()
	p.Status = tender.NotStarted
	p.Try(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	p.Try(unix.SYS_PRCTL, unix.PR_SET_NAME, append([]byte(args[0]), 0))
	wait := binary.LittleEndian.AppendUint32(nil, listenerFD) // struct pollfd
	p.Must("could not wait for the container's start", 1, unix.SYS_PPOLL, binary.LittleEndian.AppendUint32(wait, unix.POLLIN), 1, 0, 0, 0)
	p.Must("could not close the container's socket", 0, unix.SYS_CLOSE, listenerFD)
	p.Must("could not keep a descriptor from the guest", 0, unix.SYS_FCNTL, exe, unix.F_SETFD, unix.FD_CLOEXEC)
	for _, r := range process.Rlimits {
		if kind := bundle.Rlimits[r.Type]; r.Soft < lateLimits[kind] {
			limit := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, r.Soft), r.Hard)
			p.Must("could not set process.rlimits: "+r.Type, 0, unix.SYS_PRLIMIT64, 0, kind, limit, 0)
		}
	}
	p.Exec("could not become the guest", exe, p.Strings(args), nil)
	fd, err := memfdOf(p, "waiting")
	if err != nil {
		return err
	}
	for _, keep := range []int{listenerFD, exe} {
		if _, err := unix.FcntlInt(uintptr(keep), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	return fmt.Errorf("wait for the start: %w", plan.Become(fd, args[0]))
}

// memfdOf makes an executable of a plan, in memory.
func memfdOf(p *plan.Plan, name string) (int, error) {
	e, err := p.Executable()
	if err != nil {
		return none, err
	}
	fd, err := plan.Memfd(name)
	if err != nil {
		return none, err
	}
	return fd, e.Write(plan.To(fd))
}
