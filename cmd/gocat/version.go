package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gocat/internal/version"
)

func versionCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which gocat this is",
		Example: `  gocat version
  gocat version --format json | jq -r .version`,
		Args: operands,
		RunE: func(*cobra.Command, []string) error {
			if format == "json" {
				return printJSON(version.Get())
			}
			return results(func(w io.Writer) error {
				_, err := fmt.Fprintln(w, version.String())
				return err
			})
		},
	}
	formats(cmd, &format, "text", "json")
	return cmd
}
