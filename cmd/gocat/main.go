// Command gocat runs Solo5 unikernels: as confined processes (spt) and in KVM
// virtual machines (hvt).
package main

import (
	"os"

	"github.com/spf13/cobra"

	_ "gocat/internal/fast" // runs guests before anything else is initialised
	"gocat/internal/tender"
)

func main() {
	if err := root().Execute(); err != nil {
		os.Exit(tender.Complain(err))
	}
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
		Args:               cobra.NoArgs,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // they would make an error several lines long
	}
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.AddCommand(runCommand(), sealCommand(), inspectCommand(), policyCommand(),
		guestCommand(), doctorCommand(), versionCommand())
	return cmd
}
