package tender

import "errors"

// Main is the command gocat run: it runs the guest that args ask for and
// returns the exit status. An error is one line on standard error and status 1.
// Help is for the caller to print: then help is true and nothing has happened.
//
// An spt guest replaces the process, so for it Main returns only on error.
func Main(args []string) (status int, help bool) {
	inv, err := Parse(args, Table())
	if errors.Is(err, ErrHelp) {
		return 0, true
	}
	if err == nil {
		status, err = inv.run()
	}
	if err != nil {
		return Complain(err), false
	}
	return status, false
}

func (inv *Invocation) run() (status int, err error) {
	g, err := inv.Load()
	if err != nil {
		return 0, err
	}
	defer g.Close()
	return g.Run()
}

// Complain prints err on standard error in one line and returns status 1.
func Complain(err error) int {
	say("gocat: " + oneLine(err.Error()) + "\n")
	return 1
}
