package tender

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
	"gocat/kvmhvt"
)

// Commands of gocat that gocat starts for an hvt guest that it traces or debugs, and
// that the container runtime starts for one: COMMAND FD [OPTION ...] KERNEL [ARG ...].
const (
	TendCommand      = "tend"       // gocat trace; FD gets the guest's records (kvmhvt.Record)
	TendDebugCommand = "tend-debug" // gocat run --gdb and --dumpcore; FD is a debugger's socket
	// The container runtime's: FD is that of the image, of which KERNEL
	// is only the name then. A second one follows, of /dev/kvm. The signals of Ending
	// come blocked.
	TendContainerCommand = "tend-container"
	// gocat seal --warm; FD is a debugger's socket, and a second one that of the image.
	TendWarmCommand = "tend-warm"
)

// TendCommands are all of them.
var TendCommands = [...]string{TendCommand, TendDebugCommand, TendContainerCommand, TendWarmCommand}

// Tend runs the guest that args, after the command, ask for. It returns only on
// error.
func Tend(command string, args []string) error {
	if len(args) == 0 {
		return errors.New("gocat uses this command itself")
	}
	fd, err := watchedFD(args[0])
	if err != nil {
		return err
	}
	second := kvmhvt.NoFD
	if args = args[1:]; (command == TendContainerCommand || command == TendWarmCommand) && len(args) > 0 {
		if second, err = watchedFD(args[0]); err != nil {
			return err
		}
		args = args[1:]
	}
	inv, err := Parse(args, raw.Append(raw.Clone(table[:]), traceOptions[:]...))
	if err != nil {
		return err
	}
	switch command {
	case TendDebugCommand:
		inv.Debug = fd
	case TendContainerCommand:
		inv.Options.File, inv.KVM, inv.Unblock = fd, second, Ending
	case TendWarmCommand:
		inv.Debug, inv.Options.File = fd, second
	default:
		inv.Trace = fd
	}
	_, err = inv.run(nil)
	return err
}

// watchedFD is the descriptor through which the guest is traced or debugged.
func watchedFD(v string) (int, error) {
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return 0, fmt.Errorf("%q: want a descriptor above 2", v)
	}
	// So no --net NAME=@FD takes it for one of the caller's.
	if _, err := raw.Fcntl(fd, unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	return fd, nil
}

// WatchedArgs returns the command line of a process that tends the guest of this
// process's command line, and is looked into over descriptor fd.
func (g *Guest) WatchedArgs(fd int) []string {
	number := strconv.Itoa(fd)
	if g.Prog != "" {
		return append([]string{os.Args[0], debugFD + number}, os.Args[1:]...)
	}
	return append([]string{os.Args[0], TendDebugCommand, number}, os.Args[2:]...)
}

// traceOptions are the options of gocat trace that are not the tender's business.
var traceOptions = [...]Option{
	{Name: "format", Arg: "FORMAT", Set: ignore}, {Name: "output", Short: 'o', Arg: "FILE", Set: ignore},
	{Name: "summary", Set: ignore}, {Name: "setup", Set: ignore},
}

func ignore(*Options, string) error { return nil }
