package main

import (
	"github.com/spf13/cobra"

	"gocat/internal/tender"
)

// runCommand is there for its help and completion: main runs guests, if they have
// not run before the Go runtime was initialised.
func runCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short: "Run a unikernel",
		Long: `Run the unikernel KERNEL with its arguments. Without KERNEL, run the bundled cat
with standard input as its network device.

Options end at KERNEL; what follows is the unikernel's own. Each device that the
unikernel declares must be attached. Options that name a device can also be
spelled as Solo5 does, --net:NAME=IFACE for --net NAME=IFACE.

An spt guest takes the place of the process: same process number, no supervisor.
An hvt guest is a virtual machine that the process tends.

Exit status:
  the guest's own, when it exits (255 when it aborts)
  125  gocat could not run the guest, and said why in one line
  1    hvt: the guest did what ends it, and gocat said what in one line
  139  spt: memory fault (SIGSEGV)
  159  spt: forbidden system call (SIGSYS)
  128 + the number of another signal that ended the guest`,
		Example: `  uptime | gocat run
  gocat run < big.iso | sha256sum
  gocat run --net:stdin=@0 cat.spt --solo5:quiet -l netif:quiet
  gocat run --net service=tap100 --mem=64 https.spt --ipv4=10.0.0.2/24
  gocat run --block storage=disk.img --block-sector-size storage=4096 fs.spt`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	describe(cmd, tender.Table())
	return cmd
}
