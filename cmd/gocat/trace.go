package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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

Exit status: that of gocat run, and 1 when the trace cannot be written.`,
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
		if err != nil {
			return err
		}
		os.Exit(status)
		return nil
	}
	return cmd
}

// traceOptions returns the options of gocat trace, which set o, and what is to be
// called after them.
func traceOptions(o *trace.Options) (table []tender.Option, check func() error) {
	format := "text"
	set := func(b *bool) func(*tender.Options, string) error {
		return func(*tender.Options, string) error { *b = true; return nil }
	}
	table = append([]tender.Option{
		option("format", 0, "text|json", "how to print; json is an object a line (default text)", &format),
		option("output", 'o', "FILE", "write to FILE instead of standard error (- is standard output)", &o.Output),
		{Name: "summary", Help: "count calls and their time instead of showing each", Set: set(&o.Summary)},
		{Name: "setup", Help: "spt: also show what gocat's own code calls before the guest starts", Set: set(&o.Setup)},
	}, tender.Table()...)
	return table, func() error {
		if format != "text" && format != "json" {
			return fmt.Errorf("--format: %q: want text or json", format)
		}
		o.JSON = format == "json"
		return nil
	}
}

// tendCommand is the process that gocat trace starts for an hvt guest. Its first
// argument is the descriptor for the records.
func tendCommand() *cobra.Command {
	return &cobra.Command{
		Use:                trace.TendCommand + " FD [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short:              "Tend an hvt guest for gocat trace",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("gocat trace uses this command")
			}
			fd, err := strconv.Atoi(args[0])
			if err != nil || fd < 3 {
				return fmt.Errorf("%q: want a descriptor above 2", args[0])
			}
			// So no --net NAME=@FD takes it for one of the caller's.
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
				return fmt.Errorf("descriptor %d: %w", fd, err)
			}
			table, _ := traceOptions(&trace.Options{})
			inv, err := tender.Parse(args[1:], table)
			if err != nil {
				return err
			}
			inv.Trace = fd
			signal.Stop(quit) // the backend has it
			g, err := inv.Load()
			if err != nil {
				return err
			}
			return g.Run()
		},
	}
}
