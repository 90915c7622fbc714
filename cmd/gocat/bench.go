package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/bench"
	"gocat/internal/peer"
	"gocat/kvmhvt"
)

// benchOptions are the options of gocat bench as the user gave them.
type benchOptions struct {
	bench.Config
	peers                              []string
	benchmarks, subjects, format, path string
}

// benchFormats are the values of --format.
var benchFormats = map[string]func(*bench.Report, io.Writer) error{
	"table": (*bench.Report).WriteTable,
	"json":  (*bench.Report).WriteJSON,
	"go":    (*bench.Report).WriteGo,
	"html":  (*bench.Report).WriteHTML,
}

func benchCommand() *cobra.Command {
	var o benchOptions
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
  gocat bench --peer solo5-hvt=/usr/bin/solo5-hvt -o bench.html
  gocat bench --bench=throughput --format=go -o new.txt`,
		Args: operands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("count") && o.Count <= 0 {
				return errors.New("--count: want a positive number")
			}
			var err error
			if o.format, err = formatOf(o.path, o.format, cmd.Flags().Changed("format"), map[string]string{
				".txt": "", ".json": "json", ".html": "html", ".htm": "html"}); err != nil {
				return err
			}
			if err := o.check(); err != nil {
				return err
			}
			return o.run()
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.Quick, "quick", false, "end within 30 seconds, with less data and fewer rounds")
	flags.IntVar(&o.Count, "count", 0, "`N` rounds of each benchmark (default: as many as there is time for)")
	flags.StringVar(&o.benchmarks, "bench", "", "only benchmarks whose name matches `REGEXP`")
	flags.StringVar(&o.subjects, "subject", "", "only spt, hvt and so on whose name matches `REGEXP`, and the base")
	flags.StringArrayVar(&o.peers, "peer", nil, "also measure a tender of Solo5's, `KIND=PATH`: solo5-spt=PATH or solo5-hvt=PATH; repeat for more")
	flags.StringVar(&o.Base, "base", "", "compare with `NAME` (default cat, where it is measured)")
	formats(cmd, &o.format, "table", "json", "go", "html")
	flags.StringVarP(&o.path, "output", "o", "-", "write `FILE` (- is standard output); its ending, .json or .html, chooses the format")
	return cmd
}

// check reads the options and checks the report's destination first, so that no
// finished measurement is lost.
func (o *benchOptions) check() (err error) {
	if err := writable(o.path); err != nil {
		return err
	}
	if o.Benchmark, err = expression("bench", o.benchmarks); err != nil {
		return err
	}
	if o.Subject, err = expression("subject", o.subjects); err != nil {
		return err
	}
	if o.Peers, err = peer.Parse(o.peers); err != nil {
		return err
	}
	o.NoKVM = kvmhvt.Available()
	o.Gocat, err = peer.Self()
	return err
}

// run measures and prints the results so far, even after a signal.
func (o *benchOptions) run() error {
	report, interrupted, err := measure(o.Config)
	if err != nil {
		return err
	}
	print := func(w io.Writer) error { return benchFormats[o.format](report, w) }
	if err := writeText(o.path, print); err != nil {
		return err
	}
	if failures := report.Failures(); len(failures) > 0 {
		return errors.New("wrong results or failures: " + strings.Join(failures, "; "))
	}
	if interrupted != nil {
		os.Exit(statusOf(interrupted))
	}
	return nil
}

// expression compiles the value of an option; nil if it is empty.
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
func measure(c bench.Config) (r *bench.Report, interrupted os.Signal, err error) {
	ctx, stop := untilSignal()
	progress := &progress{to: os.Stderr}
	c.Progress = progress.show
	defer progress.clear()
	r, err = bench.Run(ctx, c)
	return r, stop(), err
}
