package main

import (
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/tender"
)

// complete proposes the values of options up to KERNEL; all the rest are names
// of files. The options' own names are proposed by cobra.
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
			return nil, cobra.ShellCompDirectiveDefault
		}
		pending, word = needsValue(table, name), value
	}
	return choices(pending, word)
}

// needsValue returns the option that arg names without a value, nil if it takes
// none.
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
