package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gocat/internal/compare"
	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/peer"
	"gocat/kvmhvt"
)

// compareOptions are the options of gocat compare as the user gave them.
type compareOptions struct {
	sources, tenders, guests, policies, peers []string
	net, format, path                         string
	jobs                                      int
	timeout                                   time.Duration
}

func compareCommand() *cobra.Command {
	var o compareOptions
	var sources []string
	for _, s := range compare.Sources() {
		sources = append(sources, s.Name)
	}
	cmd := &cobra.Command{
		Use:   "compare [OPTION ...] [-- ARG ...]",
		Short: "See what every tender makes of every kind of input",
		Long: `Run a cat with every tender on every kind of input, watch the processes, and say
of each whether all bytes came, and whether it ended, waits, hangs or spins. The
tenders are gocat's own two and those of Solo5 that --peer names, of any version.

A guest of yours (--guest PATH) runs with the tenders of its target. It should be
a cat, as mirage-cat is, and gets the arguments that follow --, or those that
make mirage-cat quiet: --solo5:quiet -l netif:quiet.

The exit status is 1 if gocat did something else with a bundled cat than
docs/eof.md says. Interrupted, gocat compare ends all that it has started.`,
		DisableFlagsInUseLine: true,
		Example: `  gocat compare
  gocat compare --peer solo5-hvt=/usr/bin/solo5-hvt
  gocat compare --source=pipe,file --eof=auto --guest=cat.hvt -- --solo5:quiet
  gocat compare -o report.html`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return fmt.Errorf("unexpected argument %q: the guests' arguments follow --", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() < 0 {
				args = peer.CatArgs()
			}
			var err error
			if o.format, err = formatOf(o.path, o.format, cmd.Flags().Changed("format"), map[string]string{
				".txt": "", ".json": "json", ".md": "markdown", ".html": "html", ".htm": "html"}); err != nil {
				return err
			}
			if err := writable(o.path); err != nil {
				return err
			}
			return o.run(args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&o.sources, "source", nil, "inputs: `NAME,...` of "+strings.Join(sources, ", ")+" (default all)")
	f.StringSliceVar(&o.tenders, "tender", nil, "tenders: `KIND,...` of "+strings.Join(tenderKinds, ", ")+" (default all that there are)")
	f.StringSliceVar(&o.guests, "guest", []string{"simple", "advanced"}, "guests: `simple|advanced|PATH`, the bundled cats or an image")
	f.StringVar(&o.net, "net", "", "the network device `NAME` of an image that gets the input, if it has several")
	f.StringSliceVar(&o.policies, "eof", []string{"auto", "zero", "again"}, "EOF policies of gocat's tenders: `auto|zero|again`")
	f.StringArrayVar(&o.peers, "peer", nil, "a tender of Solo5's: `KIND=PATH`, solo5-hvt or solo5-spt; may be repeated")
	f.IntVar(&o.jobs, "jobs", 2*runtime.NumCPU(), "run `N` at a time")
	f.DurationVar(&o.timeout, "timeout", 20*time.Second, "end a run that is not over after `TIME`")
	formats(cmd, &o.format, "table", "json", "markdown", "html")
	f.StringVarP(&o.path, "output", "o", "-", "write `FILE` (- is standard output); its ending, .json, .md or .html, chooses the format")
	for name, words := range map[string][]string{
		"source": sources, "tender": tenderKinds, "eof": {"auto", "zero", "again"}, "peer": {"solo5-hvt=", "solo5-spt="},
	} {
		cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

var tenderKinds = []string{"gocat-spt", "gocat-hvt", "solo5-spt", "solo5-hvt"}

func (o *compareOptions) run(args []string) error {
	c, err := o.check(args)
	defer func() {
		for _, g := range c.Guests {
			g.Close()
		}
	}()
	if err != nil {
		return err
	}
	progress := &progress{to: os.Stderr}
	c.Progress = func(done, total int, r *compare.Run) {
		progress.show(fmt.Sprintf("%d of %d: %v", done, total, r))
	}
	ctx, stop := untilSignal()
	report, err := compare.Compare(ctx, c)
	progress.clear()
	if s := stop(); s != nil {
		os.Exit(statusOf(s))
	}
	if err != nil {
		return err
	}
	if err := writeText(o.path, func(w io.Writer) error { return o.print(w, report) }); err != nil {
		return err
	}
	return judgement(report)
}

// check reads the options. What it returns has guests to close, also on error.
func (o *compareOptions) check(args []string) (*compare.Options, error) {
	c := &compare.Options{Sources: o.sources, Jobs: o.jobs, Timeout: o.timeout}
	switch {
	case o.jobs < 1:
		return c, fmt.Errorf("--jobs: %d: want at least 1", o.jobs)
	case o.timeout < time.Second:
		return c, fmt.Errorf("--timeout: %v: want at least 1s", o.timeout)
	}
	for option, list := range map[string][]string{"source": o.sources, "tender": o.tenders, "guest": o.guests, "eof": o.policies} {
		if list != nil && len(list) == 0 {
			return c, fmt.Errorf("--%s: name at least one", option)
		}
	}
	for _, word := range o.policies {
		eof, err := device.ParseEOF(word)
		if err != nil {
			return c, fmt.Errorf("--eof: %w", err)
		}
		if !slices.Contains(c.Policies, eof) {
			c.Policies = append(c.Policies, eof)
		}
	}
	slices.Sort(c.Policies)
	if err := compare.CheckSources(o.sources); err != nil {
		return c, err
	}
	var err error
	if c.Tenders, err = o.choose(); err != nil {
		return c, err
	}
	c.NoHVT = kvmhvt.Available()
	for i, word := range o.guests {
		if slices.Contains(o.guests[:i], word) {
			continue
		}
		g, err := compare.LoadGuest(word, o.net, args)
		if err != nil {
			return c, err
		}
		if slices.ContainsFunc(c.Guests, func(other *compare.Guest) bool { return other.Name == g.Name }) {
			g.Name = word
		}
		c.Guests = append(c.Guests, g)
	}
	return c, nil
}

// choose returns the tenders: gocat's, then the peers.
func (o *compareOptions) choose() ([]*peer.Tender, error) {
	for _, kind := range o.tenders {
		if !slices.Contains(tenderKinds, kind) {
			return nil, fmt.Errorf("--tender: there is no %q; want one of %s", kind, strings.Join(tenderKinds, ", "))
		}
	}
	program, err := peer.Self()
	if err != nil {
		return nil, err
	}
	all, err := peer.Parse(o.peers)
	if err != nil {
		return nil, err
	}
	all = append([]*peer.Tender{peer.Gocat(program, image.SPT), peer.Gocat(program, image.HVT)}, all...)
	if o.tenders == nil {
		return all, nil
	}
	chosen := slices.DeleteFunc(all, func(t *peer.Tender) bool { return !slices.Contains(o.tenders, t.Kind) })
	if len(chosen) == 0 {
		return nil, fmt.Errorf("--tender: no tender is a %s: name Solo5's with --peer", strings.Join(o.tenders, " or "))
	}
	return chosen, nil
}

func (o *compareOptions) print(w io.Writer, report *compare.Report) error {
	switch o.format {
	case "json":
		return report.WriteJSON(w)
	case "markdown":
		return report.WriteMarkdown(w)
	case "html":
		return report.WriteHTML(w)
	}
	if o.path != "-" {
		return report.WriteTable(w, 0, false)
	}
	return report.WriteTable(w, columns(os.Stdout), isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "")
}

// judgement is an error if gocat did anything other than what it documents.
func judgement(report *compare.Report) error {
	wrong := report.Violations()
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d runs differ from what gocat documents; the first: %v: %s", len(wrong), len(report.Runs), wrong[0], wrong[0].Violation)
}
