package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gocat/internal/tender"
)

// Mistakes on the command line get package tender's messages instead of
// cobra's, so that all commands report them alike.

// optionError says what is wrong with an option of cmd, in tender's words.
func optionError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		given := "--" + name
		if unknown.GetSpecifiedShortnames() != "" {
			given = "-" + name
		}
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		return tender.UnknownOption(given, names, cmd.CommandPath())
	case errors.As(err, &missing):
		f := missing.GetFlag()
		name, _ := pflag.UnquoteUsage(f)
		return fmt.Errorf("option --%s needs a value: %s", f.Name, name)
	case errors.As(err, &invalid):
		want := invalid.Unwrap()
		switch invalid.GetFlag().Value.Type() {
		case "int":
			want = fmt.Errorf("%q: want a number", invalid.GetValue())
		case "duration":
			want = fmt.Errorf("%q: want a time, such as 20s", invalid.GetValue())
		}
		return fmt.Errorf("--%s: %w", invalid.GetFlag().Name, want)
	}
	return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
}

// unknownCommand is the error for a word that names no command of cmd.
func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if near := tender.Nearest(word, names); near != "" {
		return fmt.Errorf("unknown command %q; did you mean %s? See %s --help", word, near, cmd.CommandPath())
	}
	return fmt.Errorf("unknown command %q: see %s --help", word, cmd.CommandPath())
}

// operands is a cobra.PositionalArgs: it wants as many arguments as the names in
// cmd.Use say; those in brackets may be missing.
func operands(cmd *cobra.Command, args []string) error {
	var needed, possible []string
	words := strings.Fields(cmd.Use)[1:]
	for i, word := range words {
		name := strings.Trim(word, "[]")
		switch {
		case name[0] == '-' || i > 0 && strings.Trim(words[i-1], "[]")[0] == '-':
			continue // an option and its value
		case !strings.HasPrefix(word, "["):
			needed = append(needed, name)
		}
		possible = append(possible, name)
	}
	usage := strings.Join(append([]string{cmd.CommandPath()}, words...), " ")
	switch {
	case len(args) < len(needed):
		return fmt.Errorf("%s is missing: %s", needed[len(args)], usage)
	case len(args) > len(possible):
		return fmt.Errorf("unexpected argument %q: %s", args[len(possible)], usage)
	}
	return nil
}
