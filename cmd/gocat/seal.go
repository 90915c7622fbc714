package main

import (
	"errors"

	"github.com/spf13/cobra"

	"gocat/internal/tender"
)

func sealCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "seal -o FILE [OPTION ...] [--] [KERNEL [ARG ...]]",
		Short: "Make an executable of an spt unikernel with its devices and policy",
		Long: `Write an executable that runs the unikernel KERNEL with the devices, memory,
arguments and system call policy given here, and needs neither gocat nor
libraries. Without KERNEL, seal the bundled cat.

When it starts, it opens interfaces and block devices by the names given here;
descriptors (@FD) must be open then. Its own arguments are appended to the
unikernel's. Random parts, the MAC addresses of network devices without
--net-mac, are drawn once, here. Exit statuses are those of gocat run.`,
		Example: `  gocat seal -o cat && echo hi | ./cat
  gocat seal -o cat --net:stdin=@0 cat.spt --solo5:quiet
  gocat seal -o web --net service=tap100 --net-mac service=02:00:00:00:00:01 web.spt`,
	}
	own := []tender.Option{option("output", 'o', "FILE", "write FILE (- is standard output)", &path)}
	return withGuest(cmd, own, func(inv *tender.Invocation) error {
		if path == "" {
			return errors.New("no output file: give one with -o FILE")
		}
		g, err := inv.Load()
		if err != nil {
			return err
		}
		defer g.Close()
		return writeFile(path, 0o755, g.Seal)
	})
}
