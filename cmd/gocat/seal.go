package main

import (
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"gocat/internal/tender"
)

func sealCommand() *cobra.Command {
	var path string
	var warm warmOptions
	cmd := &cobra.Command{
		Use:   "seal -o FILE [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short: "Make an executable of a unikernel with its devices and policy",
		Long: `Write an executable that runs the unikernel KERNEL with the devices, memory,
arguments and system call policy given here, and needs neither gocat nor
libraries. Without KERNEL, seal the bundled cat.

When it starts, it opens interfaces and block devices by the names given here,
files by their absolute paths; descriptors (@FD) must be open then. Its own
arguments are appended to the unikernel's, which it holds: whoever can read the
file can read them, so with arguments only its owner can (mode 0700, otherwise
0755). Random parts, the MAC addresses of network devices without
--net-mac, are drawn once, here. Exit statuses are those of gocat run.

With --warm the unikernel is started here, confined as always, with these
devices and its console on standard error, until it waits for input; what is
sealed is the unikernel as it then is. The executable goes on from there,
at once, as often as it is started. It holds the unikernel's secrets and is for
its owner alone (mode 0700). docs/snapshot.md says what a unikernel that is
started more than once has to know.

Of an spt unikernel the executable holds nothing else. That of an hvt unikernel
is gocat's own program with the unikernel in it, and opens /dev/kvm when it starts.`,
		Example: `  gocat seal -o sealed && echo hi | ./sealed
  gocat seal -o sealed --net:stdin=@0 cat.spt --solo5:quiet
  gocat seal -o web --net service=tap100 --mem=64 web.spt --ipv4=10.0.0.2/24
  gocat seal --warm -o web --net service=user --publish 8080:80 web.spt`,
	}
	own := append([]tender.Option{option("output", 'o', "FILE", "write FILE (- is standard output)", &path)}, warm.table()...)
	return withGuest(cmd, own, func(inv *tender.Invocation) error {
		if path == "" {
			return errors.New("no output file: give one with -o FILE")
		}
		mode := os.FileMode(0o755)
		if len(inv.Args) > 0 || warm.warm { // they may be secrets
			mode = 0o700
		}
		g, err := inv.Load()
		if err != nil {
			return err
		}
		defer g.Close()
		boot, err := warm.boot(g)
		if err != nil {
			return err
		}
		err = writeFile(path, mode, func(w io.Writer) error { return g.Seal(w, boot) })
		exitUnstarted(err)
		return err
	})
}
