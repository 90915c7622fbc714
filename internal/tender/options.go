// Package tender is what every command that loads a guest shares: the options,
// the image, the devices, and the choice of backend.
//
// An spt guest starts before the Go runtime does (package raw): the code that
// this start runs, here and below, allocates memory and makes system calls
// through that package. The options are a plain table, from which package
// cmd/gocat makes the flags of its other commands.
package tender

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/guests"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
	"gocat/kvmhvt"
)

// Options is the settings that a guest is run with. New returns the defaults.
type Options struct {
	Backend     image.Target // 0: the image's own
	Variant     guests.Variant
	Memory      uint64 // bytes
	Devices     device.Options
	EOF         device.EOF
	Profile     Profile
	QuietFaults bool
	ExecHeap    bool
	Quote       bool // quote guest arguments that have spaces
	CPL         int  // hvt: privilege level of the guest, 3 or 0
	NetRing     bool // hvt: offer the network ring
	Confine     kvmhvt.Confine
	Verbose     bool
	Trace       int    // hvt: descriptor for the records of gocat trace, or kvmhvt.NoFD
	Debug       int    // hvt: descriptor over which a debugger controls the guest, or kvmhvt.NoFD
	KVM         int    // hvt: descriptor of /dev/kvm, or kvmhvt.NoFD to open it
	Unblock     uint64 // signals that come blocked and that the guest must not miss
	File        int    // descriptor of the image, which is copied, or kvmhvt.NoFD to open Kernel
	GDB         string // address to serve a debugger at, or ""
	DumpCore    string // directory for a core file when the guest ends badly, or ""
	DumpMax     int64  // bytes of a core file's contents, 0 for no limit
	Isolate     isolate.Config
	Label       string // name of the guest's process, for ps; "" for the image's
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

// Ending is the set of signals with which somebody asks a guest to end, signal n as bit
// n-1.
const Ending = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGTERM-1)

// DefaultMemory is the guest memory in bytes when no --mem is given (Solo5's).
const DefaultMemory = 512 << 20

// New returns the default options.
func New() *Options {
	o := raw.New[Options]()
	*o = defaults
	o.Devices.Handed = device.Handed(raw.Getenv(restarted))
	return o
}

var defaults = Options{Memory: DefaultMemory, Variant: guests.Advanced, CPL: 3, Trace: kvmhvt.NoFD, Debug: kvmhvt.NoFD, KVM: kvmhvt.NoFD, File: kvmhvt.NoFD, Isolate: isolate.Config{Mode: isolate.Auto}}

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
	{"net", "NAME=IFACE|@FD|user[,OPTION...]", "attach tap IFACE, descriptor FD or a network without privilege as network device NAME", true, 0, (*Options).setNet},
	{"publish", "[IP:]HOST:GUEST[/udp]", "let port HOST of the host (of 127.0.0.1, or IP) lead to port GUEST of the guest's user network", false, 0,
		func(o *Options, v string) error { return o.Devices.SetPublish(v) }},
	{"net-mac", "NAME=MAC", "tell the guest that network device NAME has address MAC", true, 0,
		func(o *Options, v string) error { return o.Devices.SetNetMAC(v) }},
	{"net-mtu", "NAME=BYTES", "tell the guest that network device NAME has this MTU", true, 0,
		func(o *Options, v string) error { return o.Devices.SetNetMTU(v) }},
	{"block", "NAME=PATH|@FD", "attach file or block device PATH, or descriptor FD of one, as block device NAME", true, 0,
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
	{"net-ring", "", "hvt: offer the network ring of Solo5 0.11, which saves its guests little", false, 0,
		func(o *Options, _ string) error { o.NetRing = true; return nil }},
	{"no-net-ring", "", "hvt: do not offer the network ring (default)", false, 0,
		func(o *Options, _ string) error { o.NetRing = false; return nil }},
	{"confine", "required|available|none", "hvt: layers of the tender's own confinement that must hold (default required: all)", false, 0, (*Options).setConfine},
	{"isolate", "auto|full|none", "layers of isolation: those that cost little where the host allows them, all, or the backend's own alone (default auto)", false, 0,
		func(o *Options, v string) (err error) { o.Isolate.Mode, err = isolate.ParseMode(v); return err }},
	{"require", "LAYER,...", "set up these layers too, and refuse to run if one does not hold; -v names them", false, 0,
		(*Options).setRequire},
	{"user", "UID[:GID]", "run the guest as another user, without supplementary groups; takes privilege", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetUser(v) }},
	{"cgroup", "DIR[,memory=MB][,cpu=PERCENT]", "run the guest in this control group (v2), which exists and is delegated, with these limits", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetGroup(v) }},
	{"cpu-time", "SECONDS", "let the guest use at most this much processor time, then SIGXCPU", false, 0,
		func(o *Options, v string) error { return o.Isolate.SetCPUTime(v) }},
	{"name", "NAME", "call the guest NAME in gocat ps and ps", false, 0, (*Options).setLabel},
	{"gdb", "[HOST]:PORT|unix:PATH", "wait for gdb there, on the loopback interface without HOST; whoever connects owns the guest", false, 0,
		func(o *Options, v string) error { o.GDB = v; return nil }},
	{"dumpcore", "DIR[,max=MB]", "write a core file to DIR when the guest aborts, faults, makes a forbidden call or gets SIGQUIT", false, 0, (*Options).setDumpCore},
	{"verbose", "", "say which layers hold, and why the others do not; hvt: count what the guest did", false, 'v',
		func(o *Options, _ string) error { o.Verbose = true; return nil }},
}

func (o *Options) setNet(v string) error {
	if _, value, _ := strings.Cut(v, "="); device.IsUser(value) {
		return o.Devices.SetNetUser(v)
	}
	return o.Devices.SetNet(v)
}

// setMemory reads a number of megabytes, which may say so (512M, 512MB, 512MiB),
// or of gigabytes (2G). All are powers of two, as in Solo5.
func (o *Options) setMemory(v string) error {
	digits, unit := v, uint64(1)
	for _, u := range units {
		if n := len(v) - len(u.suffix); n > 0 && strings.EqualFold(v[n:], u.suffix) {
			digits, unit = v[:n], u.megabytes
			break
		}
	}
	mb, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || mb == 0 || mb > maxMemory>>20/unit {
		return fmt.Errorf("%q: want a number of megabytes from 1 to %d, or of gigabytes, as 2G", v, maxMemory>>20)
	}
	o.Memory = mb * unit << 20
	return nil
}

var units = [...]struct {
	suffix    string
	megabytes uint64
}{{"mib", 1}, {"mb", 1}, {"m", 1}, {"gib", 1024}, {"gb", 1024}, {"g", 1024}}

func (o *Options) setDumpCore(v string) error {
	dir, limit, limited := strings.Cut(v, ",max=")
	if dir == "" {
		return fmt.Errorf("%q: want DIR[,max=MB]", v)
	}
	o.DumpCore, o.DumpMax = dir, 0
	if limited {
		mb, err := strconv.ParseUint(limit, 10, 64)
		if err != nil || mb == 0 || mb > maxMemory>>20 {
			return fmt.Errorf("%q: want a number of megabytes from 1 to %d after max=", v, maxMemory>>20)
		}
		o.DumpMax = int64(mb) << 20
	}
	return nil
}

// Supervised reports whether the guest runs in a process of its own, under
// package debug.
func (o *Options) Supervised() bool {
	return o.Debug == kvmhvt.NoFD && (o.GDB != "" || o.DumpCore != "")
}

// maxMemory is far below the end of user addresses, since the kernel puts the
// stack and its own mappings there when a guest starts.
const maxMemory = 1 << 46

func (o *Options) setLabel(v string) error {
	for _, c := range []byte(v) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			v = ""
			break
		}
	}
	if v == "" || len(v) > maxLabel {
		return fmt.Errorf("want 1 to %d letters, digits, dots, dashes and underscores", maxLabel)
	}
	o.Label = v
	return nil
}

// maxLabel is the length in bytes of the longest --name.
const maxLabel = 63

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
		o.Variant = guests.Advanced
	case "simple":
		o.Variant = guests.Simple
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

func (o *Options) setRequire(v string) error {
	err := o.Isolate.SetRequire(v)
	if err == nil {
		return nil
	}
	var own *isolate.SettingError
	if errors.As(err, &own) {
		return fmt.Errorf("%v: --%v=... asks for it", own.Layer, own.Layer)
	}
	return err
}

func (o *Options) setConfine(v string) error {
	switch v {
	case "required":
		o.Confine = kvmhvt.ConfineRequired
	case "available":
		o.Confine = kvmhvt.ConfineAvailable
	case "none":
		o.Confine = kvmhvt.ConfineNone
	default:
		return fmt.Errorf("%q: want required, available or none", v)
	}
	return nil
}
