// Package fast starts guests before the rest of gocat is initialised.
//
// A tender is started once a guest, so its start-up time counts, and merely
// linking a command line library costs a fifth of a C tender's whole run: its
// dependencies initialise tables, regular expressions and templates. The
// language says in which order packages are initialised: always the first, by
// import path, of those whose imports are. This one needs little, and its path
// sorts before "net", "regexp", "text/template" and the like, which the command
// line library waits for. So the initialiser below runs before all of theirs,
// and where the command is to run an spt guest, they never run. An hvt guest has
// to wait for them: package kvmhvt needs some of what comes later.
package fast

import (
	"os"

	"gocat/internal/tender"
)

// grow is in stack_amd64.s.
func grow()

func init() {
	grow()
	if len(os.Args) == 0 {
		return
	}
	if d, ok := tender.DropInFor(os.Args[0]); ok {
		exit(d.Main(os.Args[1:]))
	} else if len(os.Args) > 1 && os.Args[1] == "run" {
		exit(tender.Main(os.Args[2:]))
	}
}

// exit ends the process unless there is something for main to do.
func exit(status int, later bool) {
	if !later {
		os.Exit(status)
	}
}
