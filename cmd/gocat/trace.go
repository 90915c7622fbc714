package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"gocat/internal/tender"
	"gocat/internal/trace"
)

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short: "Run a unikernel and show what it asks of the host",
		Long: `Run the unikernel KERNEL as gocat run does, and show each of its hypercalls (hvt) or
system calls (spt) in a line on standard error: the time in seconds since the guest
started, the call with its arguments, its result, and the function that made it
where the image has symbols. A call that takes long is shown when it begins.
Without KERNEL, trace the bundled cat.

The guest runs under the same policy as with gocat run, in a process that ends
with this one. A traced guest is slower.

Exit status: that of gocat run, and 125 when the trace cannot be written.`,
		Example: `  gocat trace --backend=hvt --eof=again < /dev/null
  uptime | gocat trace --summary
  gocat trace -o trace.json --format=json --net service=tap100 web.spt
  gocat trace --setup < /dev/null`,
	}
	var o trace.Options
	table, check := traceOptions(&o)
	describe(cmd, table)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.Args = args
		inv, err := tender.Parse(args, table)
		if errors.Is(err, tender.ErrHelp) {
			return cmd.Help()
		}
		if err == nil {
			err = check()
		}
		if err != nil {
			return err
		}
		g, err := inv.Load()
		if err != nil {
			return err
		}
		signal.Stop(quit) // the guest gets it
		status, err := trace.Run(g, o)
		if errors.Is(err, trace.ErrNoSetup) {
			return fmt.Errorf("--setup: %w", err)
		}
		if err != nil {
			return err
		}
		os.Exit(status)
		return nil
	}
	return cmd
}

// traceOptions returns the options of gocat trace, which set o, and a function
// that checks them once they are parsed.
func traceOptions(o *trace.Options) (table []tender.Option, check func() error) {
	format := "" // not given
	set := func(b *bool) func(*tender.Options, string) error {
		return func(*tender.Options, string) error { *b = true; return nil }
	}
	table = append([]tender.Option{
		option("format", 0, "text|json", "how to print; json is an object a line (default text)", &format),
		option("output", 'o', "FILE", "write to FILE instead of standard error (- is standard output); the ending .json chooses the format", &o.Output),
		{Name: "summary", Help: "count calls and their time instead of showing each", Set: set(&o.Summary)},
		{Name: "setup", Help: "spt: also show what gocat's own code calls before the guest starts", Set: set(&o.Setup)},
	}, tender.Table()...)
	return table, func() error {
		if format != "" && format != "text" && format != "json" {
			return fmt.Errorf("--format: %q: want text or json", format)
		}
		chosen, err := formatOf(o.Output, cmp.Or(format, "text"), format != "", map[string]string{".txt": "", ".log": "", ".json": "json"})
		o.JSON = chosen == "json"
		return err
	}
}

// tendCommand is the process that gocat starts for an hvt guest that it traces
// or debugs. Its first argument is a descriptor.
func tendCommand(name string) *cobra.Command {
	return &cobra.Command{
		Use:                name + " FD [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short:              "Tend an hvt guest for another gocat",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE:               func(_ *cobra.Command, args []string) error { return tender.Tend(name, args) },
	}
}
