package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gocat/internal/ps"
	"gocat/internal/tender"
)

func psCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the guests that run on this host",
		Long: `List the guests that run on this host, of both backends, also sealed ones. What is
shown is what the kernel says of each process. Without root, what is behind the
devices is shown as ? where the kernel does not tell.`,
		Example: `  gocat ps
  gocat ps --format json | jq '.[] | select(.name == "web").pid'`,
		Args: operands,
		RunE: func(*cobra.Command, []string) error {
			list, err := ps.List("/proc")
			if err != nil {
				return err
			}
			if format == "json" {
				return printJSON(append([]ps.Guest{}, list...)) // [] where there is none
			}
			return results(func(w io.Writer) error { return printGuests(w, list) })
		},
	}
	formats(cmd, &format, "table", "json")
	return cmd
}

func printGuests(w io.Writer, list []ps.Guest) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "PID\tBACKEND\tNAME\tMEMORY\tSINCE\tIMAGE\tDEVICES")
	for _, g := range list {
		image, devices := g.Image, "?"
		switch {
		case image == "":
			image = "(bundled cat)"
		case g.Warm:
			image += " (warm)"
		case g.Sealed:
			image += " (sealed)"
		}
		if g.Devices != nil {
			devices = strings.Join(g.Devices, " ")
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%d MB\t%s\t%s\t%s\n", g.PID, g.Backend, tender.OneLine(g.Name), g.Memory>>20,
			g.Since.Local().Format("2006-01-02 15:04:05"), tender.OneLine(image), tender.OneLine(devices))
	}
	return tw.Flush()
}
