package tender

import "gocat/internal/image"

// Early tries to run the guest that a command line of gocat asks for before the
// Go runtime is initialised (package early). The process ends with the guest.
// Early returns, or does not get that far, when the guest is not for spt,
// something is wrong or unusual, or the command is another: then nothing has
// been said, and the ordinary start does everything again.
func Early(args []string) {
	if len(args) == 0 {
		return
	}
	if d, ok := DropInFor(args[0]); ok {
		d.run(args[1:])
	} else if len(args) > 1 && args[1] == "run" {
		if inv, err := Parse(args[2:], Table()); err == nil && inv.Backend != image.HVT {
			inv.run()
		}
	}
}
