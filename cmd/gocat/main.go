//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0

// Command gocat runs Solo5 unikernels: as confined processes (spt) and in KVM
// virtual machines (hvt).
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	_ "gocat/internal/hvt"
	"gocat/internal/tender"
)

func main() {
	if d, ok := tender.DropInFor(os.Args[0]); ok {
		os.Exit(d.Main(os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		// Without the command line library, which takes its time.
		if status, help := tender.Main(os.Args[2:]); !help {
			os.Exit(status)
		}
	}
	endOnQuit()
	help := &keeper{w: os.Stdout}
	cmd := root()
	cmd.SetOut(help)
	err := cmd.Execute()
	if err == nil && help.err != nil {
		err = fmt.Errorf("standard output: %w", help.err)
	}
	if err != nil {
		os.Exit(tender.Complain(err))
	}
}

// keeper keeps the error of writing to w, which cobra does not look at when it
// prints help.
type keeper struct {
	w   io.Writer
	err error
}

func (k *keeper) Write(b []byte) (int, error) {
	if k.err == nil {
		_, k.err = k.w.Write(b)
	}
	return len(b), nil
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "gocat",
		Short: "Run Solo5 unikernels",
		Long: `gocat runs Solo5 unikernels: built for spt as processes with a handful of system
calls, built for hvt in KVM virtual machines. Where you give it no unikernel it
uses its own, a cat that copies standard input to standard output.

Invoked by the name solo5-spt or solo5-hvt (say, through a link), it takes the
options of that Solo5 tender.`,
		Example: `  uptime | gocat run
  gocat run --net:service=tap100 --mem=64 unikernel.spt --ipv4=10.0.0.2/24
  gocat seal -o cat && echo hi | ./cat
  gocat doctor`,
		Version:            version(),
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // they would make an error several lines long
	}
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.AddCommand(runCommand(), sealCommand(), inspectCommand(), policyCommand(),
		guestCommand(), buildCommand(), manifestCommand(), compareCommand(), doctorCommand(),
		traceCommand(), tendCommand(), benchCommand(), selftestCommand(), versionCommand())
	cmd.SetHelpCommand(helpCommand(cmd))
	cmd.InitDefaultCompletionCmd()
	if completion, _, err := cmd.Find([]string{"completion"}); err == nil {
		// Runnable, it refuses shells that it does not know.
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		completion.Example = "  source <(gocat completion bash)"
	}
	return cmd
}

// helpCommand is cobra's help command, but that a mistake is an error.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Help about any command",
		Example: "  gocat help run",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return fmt.Errorf("unknown help topic %q", strings.Join(args, " "))
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, word string) (names []string, _ cobra.ShellCompDirective) {
			for _, c := range root.Commands() {
				if len(args) == 0 && c.IsAvailableCommand() && strings.HasPrefix(c.Name(), word) {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
