package tender

import "errors"

// Main is the command gocat run: it runs the guest that args ask for, with which
// the process ends. It returns only on error, which it has printed in one line on
// standard error, with the exit status; or because args ask for help, which is
// for the caller to print.
func Main(args []string) (status int, help bool) {
	inv, err := Parse(args, Table())
	if err == nil {
		err = inv.run()
	}
	if errors.Is(err, ErrHelp) {
		return 0, true
	}
	return Complain(err), false
}

func (inv *Invocation) run() error {
	g, err := inv.Load()
	if err != nil {
		return err
	}
	defer g.Close()
	return g.Run()
}

// Complain prints err on standard error in one line and returns status 1.
func Complain(err error) int {
	say("gocat: " + oneLine(err.Error()) + "\n")
	return 1
}
