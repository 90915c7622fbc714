//go:debug updatemaxprocs=0
//go:debug containermaxprocs=0
//go:debug decoratemappings=0

// Command gocat runs Solo5 unikernels: as confined processes (spt) and in KVM
// virtual machines (hvt).
package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gocat/internal/debug"
	"gocat/internal/tender"
	_ "gocat/internal/traps"
	_ "gocat/internal/usernet" // user networks
	"gocat/internal/version"
)

// extra are commands that build tags add.
var extra []*cobra.Command

func main() {
	tender.Entry, tender.SealedEntry = entryPC(), sealedEntryPC()
	if payload, ok := tender.Sealed(); ok {
		os.Exit(tender.Complain(tender.RunSealed(payload, os.Args[1:]), tender.NotStarted))
	}
	if err := checkPrivileges(); err != nil {
		status := 1
		if len(os.Args) > 1 && os.Args[1] == "run" {
			status = tender.NotStarted
		}
		os.Exit(tender.Complain(err, status))
	}
	if d, ok := tender.DropInFor(os.Args[0]); ok {
		os.Exit(d.Main(os.Args[1:], debug.Run))
	}
	if filepath.Base(os.Args[0]) == tender.RuntimeName {
		os.Exit(tender.Complain(becomeRuntime(), 1))
	}
	if filepath.Base(os.Args[0]) == elftoolName {
		endOnQuit()
		os.Exit(elftool(os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "run" {
		// Without the command line library, which takes its time.
		if status, help := tender.Main(os.Args[2:], debug.Run); !help {
			os.Exit(status)
		}
	}
	endOnQuit()
	help := &keeper{w: os.Stdout}
	cmd := root()
	cmd.SetArgs(goStyle(os.Args[1:]))
	cmd.SetOut(help)
	ran, err := cmd.ExecuteC()
	if err == nil && help.err != nil {
		err = fmt.Errorf("standard output: %w", help.err)
	}
	if err != nil {
		status := 1
		if name := ran.Name(); name == "run" || name == "trace" || slices.Contains(tender.TendCommands[:], name) {
			status = tender.NotStarted
		}
		os.Exit(tender.Complain(err, status))
	}
}

// keeper keeps the error of writing to w, which cobra ignores when it prints
// help.
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
  gocat seal -o sealed && echo hi | ./sealed
  gocat doctor`,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          groupHelp,

		DisableFlagsInUseLine: true,
	}
	cmd.SetFlagErrorFunc(optionError)
	cmd.SetUsageTemplate(strings.NewReplacer(
		"{{.LocalFlags.FlagUsages |", "{{(.LocalFlags.FlagUsagesWrapped 80) |",
		"{{.InheritedFlags.FlagUsages |", "{{(.InheritedFlags.FlagUsagesWrapped 80) |").Replace(cmd.UsageTemplate()))
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.AddCommand(runCommand(), sealCommand(), inspectCommand(), policyCommand(),
		guestCommand(), buildCommand(), imageCommand(), manifestCommand(), compareCommand(), doctorCommand(),
		traceCommand(), benchCommand(), selftestCommand(), psCommand(), serveCommand(), dumpCommand(), symbolizeCommand(), versionCommand())
	for _, name := range tender.TendCommands {
		cmd.AddCommand(tendCommand(name))
	}
	cmd.AddCommand(extra...)
	cmd.SetHelpCommand(helpCommand(cmd))
	cmd.InitDefaultCompletionCmd()
	if completion, _, err := cmd.Find([]string{"completion"}); err == nil {
		// Runnable, it refuses shells that it does not know.
		completion.Args, completion.RunE = cobra.ArbitraryArgs, groupHelp
		completion.Example = "  source <(gocat completion bash)"
		for _, shell := range completion.Commands() {
			shell.Example = "  gocat completion " + shell.Name()
		}
	}
	fit(cmd)
	return cmd
}

// groupHelp runs a command that only groups others: it lists them, or reports
// one that does not exist.
func groupHelp(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return cmd.Help()
}

// helpCommand is cobra's help command, except that a mistake is an error.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "Help about any command",
		Example: "  gocat help run",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd, rest[0])
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
