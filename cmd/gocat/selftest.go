package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"gocat/internal/image"
	"gocat/internal/selftest"
	"gocat/kvmhvt"
)

func selftestCommand() *cobra.Command {
	var backend, format string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "selftest",
		Short: "Attack gocat on this host with hostile guests",
		Long: `Run guests that try to break out, some thousands of them, and say how each kind of
attack ended. Columns are kinds of guests: spt, spt with --profile=strict, hvt,
and hvt with --cpl=0. Ends are: killed by the kernel; ended by the tender, with
a line; refused with an error, after which the guest went on; stopped by a
signal, of guests that never end; harmless, of what is allowed. Afterwards the
files, descriptors and memory beside each guest have to be as they were. Last,
gocat-net, the process of user networks, tries what it may not do.

Takes 10 to 60 seconds, no privileges, and for the columns hvt and cpl0 /dev/kvm.
Guests that gocat could not start, for want of memory say, are counted apart. The
exit status is 0 only if all attacks were stopped. Nothing is left behind,
also if it is killed.`,
		Example: `  gocat selftest
  gocat selftest --backend=spt -v
  gocat selftest --format json | jq '.failures'`,
		Args: operands,
		RunE: func(*cobra.Command, []string) error {
			of, missing, err := selftestSettings(backend)
			if err != nil {
				return err
			}
			return attackSelf(of, missing, format, verbose)
		},
	}
	cmd.Flags().SortFlags = false
	choose(cmd, &backend, "backend", "attack only guests of this backend (default both)", "spt", "hvt")
	formats(cmd, &format, "table", "json")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "name every attack")
	return cmd
}

// selftestSettings returns what to attack on this host. If hvt was not named
// and cannot run here, it also returns why hvt is left out.
func selftestSettings(backend string) (of []selftest.Setting, missing error, err error) {
	spt, hvt := []selftest.Setting{selftest.SPT, selftest.Strict}, []selftest.Setting{selftest.HVT, selftest.CPL0}
	switch backend {
	case "spt":
		return spt, nil, nil
	}
	err = kvmhvt.Available()
	switch {
	case err != nil:
		err = fmt.Errorf("no hvt guests on this host: %w", err)
		if backend == "" {
			return spt, err, nil
		}
		return nil, nil, err
	case backend == "":
		return append(spt, hvt...), nil, nil
	}
	return hvt, nil, nil
}

// attackSelf tries all attacks on the given settings and prints their outcome.
func attackSelf(of []selftest.Setting, missing error, format string, verbose bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	attacks := selftest.Attacks(of...)
	table := selftest.NewTable(of, attacks)
	out := describeSelftest(missing)
	err = selftest.Run(self, attacks, func(r selftest.Result) {
		table.Add(r)
		if !verbose {
			return
		}
		if format == "json" {
			out.Attacks = append(out.Attacks, describeAttack(r))
		} else if r.Err == nil {
			fmt.Printf("%-6v  %s: %s: %v\n", r.Setting, r.Group, r.Name, r.Outcome)
		}
	})
	if err != nil && table.Tried == 0 {
		return err
	}
	out.add(table)
	out.Network = attackNetwork()
	print := func(w io.Writer) error {
		if err := printSelftest(w, table, missing); err != nil {
			return err
		}
		return out.Network.print(w, verbose)
	}
	if format == "json" {
		err = errors.Join(printJSON(out), err)
	} else {
		err = errors.Join(results(print), err)
	}
	if n := len(table.Failures); n > 0 && err == nil {
		err = fmt.Errorf("%d of %d attacks were not stopped", n, table.Tried)
	}
	if err == nil {
		err = out.Network.err()
	}
	if n := len(table.NotStarted); n > 0 && err == nil {
		err = fmt.Errorf("%d of %d guests could not be started, so nobody knows: %w", n, table.Tried, table.NotStarted[0].Err)
	}
	return err
}

// printSelftest prints the table, the attacks that were not stopped, and a
// total.
func printSelftest(w io.Writer, t *selftest.Table, missing error) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := printer{w: tw}
	p.printf("ATTACK")
	for _, s := range selftest.Settings() {
		p.printf("\t%v", s)
	}
	p.printf("\n")
	for _, row := range t.Rows {
		p.printf("%s", row.Group)
		for _, s := range selftest.Settings() {
			if missing != nil && s.Target() == image.HVT {
				p.printf("\tno KVM")
			} else {
				p.printf("\t%v", row.Cells[s])
			}
		}
		p.printf("\n")
	}
	if p.err != nil {
		return p.err
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	p.w = w
	for _, f := range t.NotStarted {
		p.printf("not started: %v: %s: %s: %v\n", f.Setting, f.Group, f.Name, f.Err)
	}
	for _, f := range t.Failures {
		p.printf("NOT STOPPED: %v: %s: %s: %v\n", f.Setting, f.Group, f.Name, f.Err)
	}
	if missing != nil {
		p.printf("%v\n", missing)
	}
	p.printf("%d attacks, %d stopped\n", t.Tried, t.Tried-len(t.Failures)-len(t.NotStarted))
	return p.err
}

// selftestDescription is the outcome as JSON.
type selftestDescription struct {
	Tried   int    `json:"tried"`
	Stopped int    `json:"stopped"`
	Missing string `json:"missing,omitempty"` // why nothing of hvt was tried
	// NotStarted are attacks whose guests gocat did not run.
	NotStarted []attackDescription `json:"notStarted,omitempty"`
	Rows       []selftestRow       `json:"rows"`
	Failures   []attackDescription `json:"failures"`
	Attacks    []attackDescription `json:"attacks,omitempty"`
	Network    *networkDescription `json:"network"`
}

type selftestRow struct {
	Attack string                  `json:"attack"`
	On     map[string]selftestCell `json:"on"` // by column
}

type selftestCell struct {
	Tried   int            `json:"tried"`
	Stopped int            `json:"stopped"`
	Ends    map[string]int `json:"ends"`
}

type attackDescription struct {
	On      string `json:"on"`
	Attack  string `json:"attack"`
	Name    string `json:"name"`
	End     string `json:"end,omitempty"`
	Status  int    `json:"status"`
	Problem string `json:"problem,omitempty"` // why it was not stopped
}

func describeSelftest(missing error) *selftestDescription {
	d := &selftestDescription{Rows: []selftestRow{}, Failures: []attackDescription{}}
	if missing != nil {
		d.Missing = missing.Error()
	}
	return d
}

func describeAttack(r selftest.Result) attackDescription {
	d := attackDescription{On: r.Setting.String(), Attack: r.Group, Name: r.Name, End: r.Outcome.Word, Status: r.Outcome.Status}
	if r.Err != nil {
		d.Problem = r.Err.Error()
	}
	return d
}

func (d *selftestDescription) add(t *selftest.Table) {
	d.Tried, d.Stopped = t.Tried, t.Tried-len(t.Failures)-len(t.NotStarted)
	for _, f := range t.NotStarted {
		d.NotStarted = append(d.NotStarted, describeAttack(f))
	}
	for _, row := range t.Rows {
		one := selftestRow{row.Group, map[string]selftestCell{}}
		for _, s := range t.Settings {
			if c := row.Cells[s]; c.Tried > 0 {
				one.On[s.String()] = selftestCell{c.Tried, c.Tried - c.Failed - c.NotStarted, c.Words}
			}
		}
		d.Rows = append(d.Rows, one)
	}
	for _, f := range t.Failures {
		d.Failures = append(d.Failures, describeAttack(f))
	}
}
