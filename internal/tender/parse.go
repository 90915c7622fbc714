package tender

import (
	"errors"
	"fmt"
	"strings"

	"gocat/internal/raw"
)

// ErrHelp says that the arguments ask for help.
var ErrHelp = errors.New("help requested")

var errNoKernel = errors.New("KERNEL is empty: give the path of a unikernel image")

// Invocation is a parsed command line.
type Invocation struct {
	*Options
	Kernel string   // path of the image; "" for the bundled cat
	Args   []string // the guest's

	given  []string // the options that were given, as --NAME=VALUE; early not known
	sealed []byte   // the image, of a sealed guest
	own    int      // how many of Args a sealed guest was started with
	warm   []byte   // what a sealed guest was, of one that has run before
}

// Parse reads [OPTION ...] [--] [KERNEL [ARG ...]]. Options end at the first
// argument that is not one, so that the guest's own options are its own. Both
// --name=value and --name value are understood.
func Parse(args []string, table []Option) (*Invocation, error) {
	type setting struct {
		opt   Option
		value string
	}
	var settings []setting
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		if arg == "--help" || arg == "-h" {
			return nil, ErrHelp
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		name, _, hasDev := strings.Cut(name, ":")
		opt, ok := find(table, name, strings.HasPrefix(arg, "--"))
		switch {
		case !ok || hasDev && !opt.Named:
			return nil, UnknownOption(arg, names(table), "")
		case opt.Arg == "" && hasValue:
			return nil, fmt.Errorf("option %s takes no value", arg)
		case hasDev && !hasValue:
			return nil, fmt.Errorf("option %s needs a value: --%s:NAME=VALUE", arg, opt.Name)
		case opt.Arg != "" && !hasValue:
			if len(args) == 0 {
				return nil, fmt.Errorf("option %s needs a value: %s", arg, opt.Arg)
			}
			value, args = args[0], args[1:]
		}
		if hasDev {
			_, value, _ = strings.Cut(arg, ":") // DEVICE=VALUE
		}
		settings = raw.Append(settings, setting{opt, value})
	}
	inv := raw.New[Invocation]()
	inv.Options = New()
	if len(args) > 0 {
		if inv.Kernel, inv.Args = args[0], args[1:]; inv.Kernel == "" {
			return nil, errNoKernel
		}
	} else if err := inv.bundledDefaults(); err != nil {
		return nil, err
	}
	for _, s := range settings {
		if !raw.Early() {
			inv.given = append(inv.given, s.opt.spell(s.value))
		}
		if err := s.opt.Set(inv.Options, s.value); err != nil {
			return nil, fmt.Errorf("--%s: %w", s.opt.Name, err)
		}
	}
	return inv, nil
}

// names returns the names of options.
func names(table []Option) []string {
	all := make([]string, len(table))
	for i := range table {
		all[i] = table[i].Name
	}
	return all
}

// spell returns the option as it is given.
func (o *Option) spell(value string) string {
	if o.Arg == "" {
		return "--" + o.Name
	}
	return "--" + o.Name + "=" + value
}

// find returns the option called name, or, for a single dash, with the letter
// name.
func find(table []Option, name string, long bool) (Option, bool) {
	for _, opt := range table {
		if long && opt.Name == name || !long && len(name) == 1 && opt.Short == name[0] {
			return opt, true
		}
	}
	return Option{}, false
}

// bundledDefaults attaches the standard input to the bundled cat. Its MTU is
// the largest, for packets only make a pipe slow.
func (o *Options) bundledDefaults() error {
	return errors.Join(o.Devices.SetNet("stdin=@0"), o.Devices.SetNetMTU("stdin=65535"))
}

// CommandLine joins the guest's arguments with single spaces, as Solo5's
// tenders do; with --quote those that a guest would split are quoted. It is a
// copy of its own.
func (inv *Invocation) CommandLine() string {
	if !inv.Quote {
		return raw.Join(inv.Args, " ")
	}
	quoted := raw.Slice[string](0, len(inv.Args))
	for _, arg := range inv.Args {
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\") {
			arg = quote(arg)
		}
		quoted = append(quoted, arg)
	}
	return raw.Join(quoted, " ")
}

// quote puts an argument between double quotes.
func quote(arg string) string {
	b := append(raw.Slice[byte](0, 2*len(arg)+2), '"')
	for i := range len(arg) {
		if arg[i] == '\\' || arg[i] == '"' {
			b = append(b, '\\')
		}
		b = append(b, arg[i])
	}
	return raw.String(append(b, '"'))
}
