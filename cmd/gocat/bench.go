package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gocat/internal/bench"
	"gocat/internal/peer"
	"gocat/kvmhvt"
)

func benchCommand() *cobra.Command {
	var c bench.Config
	var peers []string
	var benchmarks, subjects, format, path string
	formats := map[string]func(*bench.Report, io.Writer) error{
		"table": (*bench.Report).WriteTable,
		"json":  (*bench.Report).WriteJSON,
		"go":    (*bench.Report).WriteGo,
		"html":  (*bench.Report).WriteHTML,
	}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the backends next to cat and to Solo5's tenders",
		Long: `Measure start, first byte, throughput, round trip, wake-up and memory of guests:
run as spt guests (spt), sealed (sealed), and in KVM (hvt, hvt-cpl0, hvt-ring),
next to the host's cat and to Solo5's tenders that --peer names. All are
measured in turn, round by round, and compared round by round with --base.
docs/bench.md says what is measured and how to read it.

It takes up to five minutes, with --quick up to 30 seconds; with --count as long
as it takes. ^C ends it with what there is until then, and status 130. What
gives a wrong result or breaks down has no values: it is named, and the status is
1. A tender of Solo5's that refuses to run a guest is no failure.

Formats: table, json (with all values), go (which benchstat reads) and html (a
page with plots that needs nothing else).`,
		Example: `  gocat bench --quick
  gocat bench --bench=start --subject='^(spt|sealed)' --count=50 --base=spt
  gocat bench --peer solo5-spt=./solo5-spt --peer solo5-hvt=./solo5-hvt --format=html -o bench.html
  gocat bench --bench=throughput --format=go -o new.txt; benchstat -col /by new.txt`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write, ok := formats[format]
			if !ok {
				return errors.New("--format: want table, json, go or html")
			}
			if cmd.Flags().Changed("count") && c.Count <= 0 {
				return errors.New("--count: want a positive number")
			}
			var err error
			if c.Benchmark, err = expression("bench", benchmarks); err != nil {
				return err
			}
			if c.Subject, err = expression("subject", subjects); err != nil {
				return err
			}
			if c.Peers, err = peer.Parse(peers); err != nil {
				return err
			}
			if c.Gocat, err = peer.Self(); err != nil {
				return err
			}
			c.NoKVM = kvmhvt.Available()
			report, interrupted, err := measure(c)
			if err != nil {
				return err
			}
			print := func(w io.Writer) error { return write(report, w) }
			if path == "" || path == "-" {
				err = results(print)
			} else {
				err = writeFile(path, 0o644, print)
			}
			if failures := report.Failures(); err == nil && len(failures) > 0 {
				err = errors.New("wrong results or failures: " + strings.Join(failures, "; "))
			}
			if err == nil && interrupted != nil {
				os.Exit(statusOf(interrupted))
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&c.Quick, "quick", false, "end within 30 seconds, with less data and fewer rounds")
	flags.IntVar(&c.Count, "count", 0, "`N` rounds of each benchmark (default: as many as there is time for)")
	flags.StringVar(&benchmarks, "bench", "", "only benchmarks whose name matches `REGEXP`")
	flags.StringVar(&subjects, "subject", "", "only spt, hvt and so on whose name matches `REGEXP`, and the base")
	flags.StringArrayVar(&peers, "peer", nil, "also measure a tender of Solo5's, `KIND=PATH`: solo5-spt=PATH or solo5-hvt=PATH; repeat for more")
	flags.StringVar(&c.Base, "base", "", "compare with `NAME` (default cat, where it is measured)")
	flags.StringVar(&format, "format", "table", "print `table|json|go|html`")
	flags.StringVarP(&path, "output", "o", "", "write `FILE` instead of standard output")
	cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"table", "json", "go", "html"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// expression compiles the value of an option, nil if there is none.
func expression(option, value string) (*regexp.Regexp, error) {
	if value == "" {
		return nil, nil
	}
	e, err := regexp.Compile(value)
	if err != nil {
		return nil, fmt.Errorf("--%s: %w", option, err)
	}
	return e, nil
}

// measure runs the benchmarks until they are done or a signal asks for the end.
// A second one ends the process at once.
func measure(c bench.Config) (r *bench.Report, interrupted os.Signal, err error) {
	ctx, stop := untilSignal()
	if _, err := unix.IoctlGetTermios(2, unix.TCGETS); err == nil {
		c.Progress = func(what string) { fmt.Fprintf(os.Stderr, "\r%.70s\x1b[K", what) }
		defer fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	r, err = bench.Run(ctx, c)
	return r, stop(), err
}
