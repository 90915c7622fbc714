package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/tender"
)

// withGuest makes cmd take [OPTION ...] [--] [KERNEL [ARG ...]] with the
// command's own options and those of tender.Table. tender.Parse reads them, so
// that what follows KERNEL stays the guest's; cobra knows them for help only.
func withGuest(cmd *cobra.Command, own []tender.Option, run func(*tender.Invocation) error) *cobra.Command {
	table := append(own, tender.Table()...)
	describe(cmd, table)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		inv, err := tender.Parse(args, table)
		if errors.Is(err, tender.ErrHelp) {
			return cmd.Help()
		}
		if err != nil {
			return err
		}
		return run(inv)
	}
	return cmd
}

// describe tells cobra about the options in table, for help and completion.
func describe(cmd *cobra.Command, table []tender.Option) {
	cmd.DisableFlagParsing = true
	cmd.DisableFlagsInUseLine = true
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		return complete(table, args, word)
	}
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], cobra.ShellCompRequestCmd) {
		return // cobra would propose the options after KERNEL too, where they are the guest's
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	for _, opt := range table {
		short := ""
		if opt.Short != 0 {
			short = string(opt.Short)
		}
		flag := flags.VarPF(described(opt.Arg), opt.Name, short, opt.Help)
		if opt.Arg == "" {
			flag.NoOptDefVal = "true"
		}
	}
}

// described is a flag that is only described: it knows the name of its value.
type described string

func (described) String() string   { return "" }
func (described) Set(string) error { return nil }

// Type is what help shows as the value; bool shows as nothing.
func (d described) Type() string {
	if d == "" {
		return "bool"
	}
	return string(d)
}

// option makes an option of one command, which keeps its value in dst.
func option(name string, short byte, arg, help string, dst *string) tender.Option {
	return tender.Option{Name: name, Short: short, Arg: arg, Help: help,
		Set: func(_ *tender.Options, value string) error {
			if value == "" {
				return errors.New("want " + arg)
			}
			*dst = value
			return nil
		}}
}
