package tender

import "errors"

// Supervisor runs a guest in a process of its own, where Options.Supervised
// asks for that, and returns the guest's exit status. It is nil before the Go
// runtime starts.
type Supervisor func(*Guest) (status int, err error)

var errNoSupervisor = errors.New("no supervisor")

// Main is the command gocat run: it runs the guest that args ask for, with which
// the process ends. It returns only on error, which it has printed in one line on
// standard error, with the exit status; when a supervised guest has ended, with
// its own; or because args ask for help, which is for the caller to print.
func Main(args []string, supervise Supervisor) (status int, help bool) {
	inv, err := Parse(args, Table())
	if err == nil {
		status, err = inv.run(supervise)
	}
	switch {
	case errors.Is(err, ErrHelp):
		return 0, true
	case err != nil:
		return Complain(err, NotStarted), false
	}
	return status, false
}

func (inv *Invocation) run(supervise Supervisor) (status int, err error) {
	g, err := inv.Load()
	if err != nil {
		return 0, blame(err)
	}
	defer g.Close()
	status, err = g.run(supervise)
	return status, blame(err)
}

// run runs the guest, supervised or not.
func (g *Guest) run(supervise Supervisor) (status int, err error) {
	switch {
	case !g.Supervised():
		return 0, g.Run()
	case supervise == nil:
		return 0, errNoSupervisor
	}
	return supervise(g)
}

// NotStarted is the exit status when gocat could not run a guest, of the commands
// that otherwise have the guest's. It is that of env, timeout and container
// engines.
const NotStarted = 125

// Complain prints err on standard error in one line and returns status.
func Complain(err error, status int) int {
	say("gocat: " + OneLine(err.Error()) + "\n")
	return status
}
