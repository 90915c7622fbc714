// Package tender is what every command that loads a guest shares: the options,
// the image, the devices, and the choice of backend.
//
// An spt guest starts before the Go runtime does (package early): what is on its
// way, here and below, takes memory and makes system calls through package raw.
// The options are a plain table, from which package cmd/gocat makes the flags of
// its other commands.
package tender

import (
	"fmt"
	"strconv"

	"gocat/guest"
	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
)

// Options is what a guest is to be run with. New returns the defaults.
type Options struct {
	Backend     image.Target // 0: the image's own
	Variant     guest.Variant
	Memory      uint64 // bytes
	Devices     device.Options
	EOF         device.EOF
	Profile     Profile
	QuietFaults bool
	ExecHeap    bool
	Quote       bool // quote guest arguments that have spaces
	CPL         int  // hvt: privilege level of the guest, 3 or 0
	NetRing     bool // hvt: offer the network ring
	Confine     Confine
	Verbose     bool
	Trace       int // hvt: descriptor for the records of gocat trace, or 0
	Isolate     isolate.Config
	Prog        string // the drop-in that was invoked; "" for gocat itself
}

// Profile selects a system call policy for spt guests.
type Profile uint8

// Profiles (--profile).
const (
	ProfileDefault Profile = iota // strict for the bundled guests, else solo5
	ProfileSolo5
	ProfileStrict
)

// Confine says which layers of an hvt tender's own confinement must hold.
type Confine uint8

// Choices of --confine.
const (
	ConfineRequired  Confine = iota // all that gocat knows of, but for Landlock where the kernel has none
	ConfineAvailable                // those that this host allows
	ConfineNone                     // none
)

// DefaultMemory is the guest memory in bytes when no --mem is given (Solo5's).
const DefaultMemory = 512 << 20

// New returns the default options.
func New() *Options {
	o := raw.New[Options]()
	*o = defaults
	return o
}

var defaults = Options{Memory: DefaultMemory, Variant: guest.Advanced, CPL: 3, Isolate: isolate.Config{Mode: isolate.Auto}}

// Option is one command line option: --Name=Arg, or --Name alone when Arg is "".
type Option struct {
	Name, Arg, Help string
	Named           bool                         // Solo5's spelling --Name:DEVICE=VALUE means --Name=DEVICE=VALUE
	Short           byte                         // a single letter for it, or 0
	Set             func(*Options, string) error // applies a value, "" when Arg is ""
}

// Table returns the options of the commands that load a guest.
func Table() []Option { return table[:] }

var table = [...]Option{
	{"net", "NAME=IFACE|@FD", "attach tap IFACE or descriptor FD as network device NAME", true, 0,
		func(o *Options, v string) error { return o.Devices.SetNet(v) }},
	{"net-mac", "NAME=MAC", "tell the guest that network device NAME has address MAC", true, 0,
		func(o *Options, v string) error { return o.Devices.SetNetMAC(v) }},
	{"net-mtu", "NAME=BYTES", "tell the guest that network device NAME has this MTU", true, 0,
		func(o *Options, v string) error { return o.Devices.SetNetMTU(v) }},
	{"block", "NAME=PATH", "attach file or block device PATH as block device NAME", true, 0,
		func(o *Options, v string) error { return o.Devices.SetBlock(v) }},
	{"block-sector-size", "NAME=BYTES", "sector size of block device NAME (default 512)", true, 0,
		func(o *Options, v string) error { return o.Devices.SetBlockSectorSize(v) }},
	{"mem", "MB", "guest memory (default 512)", false, 0, (*Options).setMemory},
	{"backend", "spt|hvt", "run as a confined process or in KVM (default: what KERNEL is built for; spt for the bundled cat)", false, 0, (*Options).setBackend},
	{"eof", "auto|zero|again", "what a guest sees at the end of its input (default auto)", false, 0,
		func(o *Options, v string) (err error) { o.EOF, err = device.ParseEOF(v); return err }},
	{"guest", "advanced|simple", "bundled cat to run when there is no KERNEL (default advanced)", false, 0, (*Options).setVariant},
	{"profile", "solo5|strict", "system calls an spt guest may make (default solo5; strict for the bundled cat)", false, 0, (*Options).setProfile},
	{"quiet-faults", "", "spt: let a fault or forbidden system call kill without a message", false, 0,
		func(o *Options, _ string) error { o.QuietFaults = true; return nil }},
	{"quote", "", "quote guest arguments that contain spaces, so that they arrive whole", false, 0,
		func(o *Options, _ string) error { o.Quote = true; return nil }},
	{"x-exec-heap", "", "spt: make the guest's heap and stack executable (dangerous)", false, 0,
		func(o *Options, _ string) error { o.ExecHeap = true; return nil }},
	{"cpl", "3|0", "hvt: privilege level of the guest (default 3: behind gocat's shim; 0: Solo5's own arrangement)", false, 0, (*Options).setCPL},
	{"net-ring", "", "hvt: offer the network ring of Solo5 0.11, which needs a processor of its own to pay", false, 0,
		func(o *Options, _ string) error { o.NetRing = true; return nil }},
	{"no-net-ring", "", "hvt: do not offer the network ring (default)", false, 0,
		func(o *Options, _ string) error { o.NetRing = false; return nil }},
	{"confine", "required|available|none", "hvt: layers of the tender's own confinement that must hold (default required: all)", false, 0, (*Options).setConfine},
	{"isolate", "auto|full|none", "layers of isolation: those that cost little where the host allows them, all, or the backend's own alone (default auto)", false, 0,
		func(o *Options, v string) (err error) { o.Isolate.Mode, err = isolate.ParseMode(v); return err }},
	{"require", "LAYER,...", "set up these layers too, and refuse to run if one does not hold; -v names them", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetRequire(v) }},
	{"user", "UID[:GID]", "run the guest as another user, without supplementary groups; takes privilege", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetUser(v) }},
	{"cgroup", "DIR[,memory=MB][,cpu=PERCENT]", "run the guest in this control group (v2), which exists and is delegated, with these limits", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetGroup(v) }},
	{"cpu-time", "SECONDS", "let the guest use at most this much processor time, then SIGXCPU", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetCPUTime(v) }},
	{"verbose", "", "say which layers hold, and why the others do not; hvt: count what the guest did", false, 'v',
		func(o *Options, _ string) error { o.Verbose = true; return nil }},
}

func (o *Options) setMemory(v string) error {
	mb, err := strconv.ParseUint(v, 10, 64)
	if err != nil || mb == 0 || mb > maxMemory>>20 {
		return fmt.Errorf("%q: want a number of megabytes from 1 to %d", v, maxMemory>>20)
	}
	o.Memory = mb << 20
	return nil
}

// maxMemory is far below the end of user addresses, where the kernel has the
// stack and its own mappings when a guest starts.
const maxMemory = 1 << 46

func (o *Options) setBackend(v string) error {
	switch v {
	case "spt":
		o.Backend = image.SPT
	case "hvt":
		o.Backend = image.HVT
	default:
		return fmt.Errorf("%q: want spt or hvt", v)
	}
	return nil
}

func (o *Options) setVariant(v string) error {
	switch v {
	case "advanced":
		o.Variant = guest.Advanced
	case "simple":
		o.Variant = guest.Simple
	default:
		return fmt.Errorf("%q: want advanced or simple", v)
	}
	return nil
}

func (o *Options) setProfile(v string) error {
	switch v {
	case "solo5":
		o.Profile = ProfileSolo5
	case "strict":
		o.Profile = ProfileStrict
	default:
		return fmt.Errorf("%q: want solo5 or strict", v)
	}
	return nil
}

func (o *Options) setCPL(v string) error {
	switch v {
	case "3":
		o.CPL = 3
	case "0":
		o.CPL = 0
	default:
		return fmt.Errorf("%q: want 3, or 0 for Solo5's own arrangement", v)
	}
	return nil
}

func (o *Options) setConfine(v string) error {
	switch v {
	case "required":
		o.Confine = ConfineRequired
	case "available":
		o.Confine = ConfineAvailable
	case "none":
		o.Confine = ConfineNone
	default:
		return fmt.Errorf("%q: want required, available or none", v)
	}
	return nil
}
