package main

import (
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/tender"
)

// complete proposes options and their values up to KERNEL, and file names after
// it.
func complete(table []tender.Option, args []string, word string) ([]string, cobra.ShellCompDirective) {
	var pending *tender.Option // its value comes next
	for _, arg := range args {
		switch {
		case pending != nil:
			pending = nil
		case arg == "--" || !strings.HasPrefix(arg, "-"):
			return nil, cobra.ShellCompDirectiveDefault
		default:
			pending = needsValue(table, arg)
		}
	}
	if pending == nil {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return optionNames(table, word)
		}
		pending, word = needsValue(table, name), value
	}
	return choices(pending, word)
}

// optionNames proposes the names of options that begin as word does, if that is an
// option.
func optionNames(table []tender.Option, word string) (names []string, _ cobra.ShellCompDirective) {
	if !strings.HasPrefix(word, "-") {
		return nil, cobra.ShellCompDirectiveDefault
	}
	propose := func(name, help string) {
		if strings.HasPrefix(name, word) {
			names = append(names, name+"\t"+help)
		}
	}
	for _, opt := range table {
		propose("--"+opt.Name, opt.Help)
		if opt.Short != 0 {
			propose("-"+string(opt.Short), opt.Help)
		}
	}
	propose("--help", "help")
	return names, cobra.ShellCompDirectiveNoFileComp
}

// needsValue returns the option that arg names if its value has to follow,
// otherwise nil.
func needsValue(table []tender.Option, arg string) *tender.Option {
	for i := range table {
		opt := &table[i]
		named := arg == "--"+opt.Name || opt.Short != 0 && arg == "-"+string(opt.Short)
		if named && opt.Arg != "" {
			return opt
		}
	}
	return nil
}

// choices proposes the values of an option where its description lists them
// ("spt|hvt"), and else names of files.
func choices(opt *tender.Option, word string) ([]string, cobra.ShellCompDirective) {
	if opt == nil || strings.ToLower(opt.Arg) != opt.Arg {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var words []string
	for choice := range strings.SplitSeq(opt.Arg, "|") {
		if strings.HasPrefix(choice, word) {
			words = append(words, choice)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
