package tender

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/raw"
)

// DropIn is one of Solo5's tenders, whose name gocat answers to: scripts that
// call it find its options, its exit statuses, and the messages they look for.
type DropIn struct {
	Prog   string // as invoked, without directories
	Target image.Target
	Debug  bool // Solo5's debugging tender
}

// DropInFor returns the tender that argv0 names, if it names one.
func DropInFor(argv0 string) (DropIn, bool) {
	prog := base(argv0)
	switch prog {
	case "solo5-spt":
		return DropIn{Prog: prog, Target: image.SPT}, true
	case "solo5-hvt":
		return DropIn{Prog: prog, Target: image.HVT}, true
	case "solo5-hvt-debug":
		return DropIn{Prog: prog, Target: image.HVT, Debug: true}, true
	}
	return DropIn{}, false
}

// dropInOption is an option of Solo5's tenders. The value is what follows
// prefix, which is the whole option when it ends in neither ':' nor '='.
type dropInOption struct {
	prefix, value, help string
	target              image.Target // 0: of all
	debug               bool         // of the debugging tender alone
	set                 func(*Options, string) error
}

var dropInOptions = [...]dropInOption{
	{"--mem=", "MB", "guest memory in megabytes (default 512)", 0, false, func(o *Options, v string) error {
		if strings.Trim(v, "0123456789") != "" || o.setMemory(v) != nil { // without a unit
			return errMem
		}
		return nil
	}},
	{"--net:", "NAME=IFACE|@FD", "attach tap IFACE or descriptor FD as network NAME", 0, false, func(o *Options, v string) error {
		return o.Devices.SetNet(v)
	}},
	{"--net-mac:", "NAME=MAC", "address of network NAME", 0, false, func(o *Options, v string) error {
		return o.Devices.SetNetMAC(v)
	}},
	{"--block:", "NAME=PATH", "attach file or block device PATH as block storage NAME", 0, false, func(o *Options, v string) error {
		return o.Devices.SetBlock(v)
	}},
	{"--block-sector-size:", "NAME=BYTES", "sector size of block storage NAME (default 512)", 0, false, func(o *Options, v string) error {
		return o.Devices.SetBlockSectorSize(v)
	}},
	{"--x-exec-heap", "", "make heap and stack executable (dangerous)", image.SPT, false, func(o *Options, _ string) error {
		o.ExecHeap = true
		return nil
	}},
	{"--no-net-ring", "", "do not offer the network ring", image.HVT, false, func(o *Options, _ string) error {
		o.NetRing = false
		return nil
	}},
	{"--gdb", "", "wait for gdb on the loopback interface", image.HVT, true, func(o *Options, _ string) error {
		if o.GDB == "" {
			o.GDB = ":1234"
		}
		return nil
	}},
	{"--gdb-port=", "N", "wait for gdb on this port (default 1234)", image.HVT, true, func(o *Options, v string) error {
		if port, err := strconv.ParseUint(v, 10, 16); err != nil || port == 0 {
			return fmt.Errorf("%q: want a port from 1 to 65535", v)
		}
		o.GDB = ":" + v
		return nil
	}},
	{"--dumpcore=", "DIR", "write a core file to DIR when the guest aborts or faults", image.HVT, true, (*Options).setDumpCore},
	{debugFD, "FD", "", image.HVT, true, func(o *Options, v string) (err error) {
		o.Debug, err = watchedFD(v)
		return err
	}},
}

// debugFD is the option with which gocat starts the debugging tender's guest.
const debugFD = "--debug-fd="

// has reports whether the tender has the option.
func (d DropIn) has(opt *dropInOption) bool {
	return (opt.target == 0 || opt.target == d.Target) && (!opt.debug || d.Debug)
}

// errMem is the one mistake that Solo5's tenders answer without their usage.
var errMem = errors.New("--mem")

// Main runs the tender with its arguments. The process ends with the guest, so
// Main returns only when there is none, or it was supervised, with the exit status.
func (d DropIn) Main(args []string, supervise Supervisor) int {
	status, err := d.run(args, supervise)
	if err != nil {
		return d.fail(err)
	}
	return status
}

func (d DropIn) run(args []string, supervise Supervisor) (status int, err error) {
	operand := 0
	for ; operand < len(args) && strings.HasPrefix(args[operand], "-"); operand++ {
		switch args[operand] {
		case "--help":
			return d.usage(), nil
		case "--version":
			say(d.Prog + " tender, version gocat\nABI version 2\n")
			return 0, nil
		}
		if args[operand] == "--" {
			operand++
			break
		}
	}
	if operand == len(args) {
		d.warn("Missing KERNEL operand")
		return d.usage(), nil
	}
	if args[operand] == "" {
		return 0, errNoKernel
	}
	inv := raw.New[Invocation]()
	*inv = Invocation{Options: New(), Kernel: args[operand], Args: args[operand+1:]}
	inv.Prog = d.Prog
	g, err := inv.Load()
	if err != nil {
		return 0, err
	}
	defer g.Close()
	if g.Image.Target != d.Target {
		return 0, fmt.Errorf("%s: Executable is not for the solo5-%v target", g.Kernel, d.Target)
	}
	for _, arg := range args[:operand] {
		if arg == "--" {
			break
		}
		switch err := d.set(inv.Options, arg); {
		case err == nil:
		case errors.Is(err, errMem):
			d.warn("Malformed argument to --mem")
			return 1, nil
		default:
			if !errors.Is(err, errUnknown) {
				d.warn(err.Error())
			}
			d.warn("Invalid option: `" + arg + "'")
			return d.usage(), nil
		}
	}
	status, err = g.run(supervise)
	var missing *device.NotAttachedError
	if errors.As(err, &missing) {
		for _, m := range missing.Devices {
			d.warn("Device '" + m.Name + "' of type " + m.Type.String() + " declared but not attached.")
		}
		d.warn("All declared devices must be attached. See --help for syntax.")
		return 1, nil
	}
	return status, err
}

var errUnknown = errors.New("unknown option")

// set applies one option.
func (d DropIn) set(o *Options, arg string) error {
	for i := range dropInOptions {
		opt := &dropInOptions[i]
		value, ok := strings.CutPrefix(arg, opt.prefix)
		if ok && d.has(opt) && (opt.value != "" || value == "") {
			return opt.set(o, value)
		}
	}
	return errUnknown
}

func (d DropIn) fail(err error) int {
	d.warn(err.Error())
	return 1
}

func (d DropIn) warn(message string) { say(d.Prog + ": " + OneLine(message) + "\n") }

// usage prints how to call the tender and returns the status 1, with which
// Solo5's end even when asked for it.
func (d DropIn) usage() int {
	text := "usage: " + d.Prog + " [ OPTIONS ] [ -- ] KERNEL [ ARGS ]\n" +
		"KERNEL is a unikernel built for " + d.Prog + ", ARGS are the unikernel's own.\n" +
		"This is gocat (see gocat --help), which takes Solo5's options here:\n"
	for i := range dropInOptions {
		if opt := &dropInOptions[i]; d.has(opt) && opt.help != "" {
			text += "    " + opt.prefix + opt.value + " (" + opt.help + ")\n"
		}
	}
	say(text + "    --help (this text)\n    --version\n")
	return 1
}

// say writes to standard error. There is nobody to tell if that fails.
func say(s string) { unix.Write(2, []byte(s)) }

// Say prints a message on standard error, in one line.
func Say(message string) { say(OneLine(message) + "\n") }

// OneLine makes a message safe for one line of a terminal: file names and
// arguments in it may hold anything.
func OneLine(s string) string {
	clean := func(r rune) bool { return r >= ' ' && (r < 0x7f || r > 0x9f) }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if clean(r) {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}
