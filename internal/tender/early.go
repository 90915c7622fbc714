package tender

import (
	"strings"

	"gocat/internal/raw"
)

// Early tries to run the guest that a command line of gocat asks for before the
// Go runtime is initialised (package raw). The process ends with the guest.
// Early returns when something is wrong or unusual, or the command is another
// one; then it has printed nothing, and the ordinary start does everything again.
func Early(args []string) {
	if len(args) == 0 {
		return
	}
	if base(args[0]) == RuntimeName {
		becomeRuntime()
		return
	}
	const noRoom = ": something is wrong, and the limit on address space (ulimit -v) is too small for the guest's memory, or to say more\n"
	raw.NoRoom("gocat"+noRoom, NotStarted)
	if payload, ok := Sealed(); ok {
		RunSealed(payload, args[1:])
		return
	}
	if d, ok := DropInFor(args[0]); ok {
		raw.NoRoom(raw.Concat(d.Prog, noRoom), 1)
		d.run(args[1:], nil)
	} else if len(args) > 1 {
		switch args[1] {
		case "run":
			if inv, err := Parse(args[2:], Table()); err == nil {
				inv.run(nil)
			}
		case TendCommand, TendDebugCommand, TendContainerCommand, TendWarmCommand:
			Tend(args[1], args[2:])
		}
	}
}

// RuntimeName is the name by which gocat is a container runtime. The runtime is a
// program of its own, RuntimeProgram, since its libraries would make up a quarter
// of gocat.
const (
	RuntimeName    = "gocat-oci"
	RuntimeProgram = "gocat-runtime"
)

// becomeRuntime replaces the process by that program, where package beside would
// find it. It returns only on error.
func becomeRuntime() {
	self := raw.Executable()
	dir := self[:max(strings.LastIndexByte(self, '/'), 0)]
	raw.Replace(raw.Concat(dir, "/", RuntimeProgram))
	raw.Replace(raw.Concat(dir[:max(strings.LastIndexByte(dir, '/'), 0)], "/libexec/gocat/", RuntimeProgram))
}
