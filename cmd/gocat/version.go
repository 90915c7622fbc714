package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which gocat this is",
		Example: "  gocat version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return results(func(w io.Writer) error {
				_, err := fmt.Fprintln(w, version())
				return err
			})
		},
	}
}

// version names this build and what it tends.
func version() string {
	v, toolchain := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			v = info.Main.Version
		}
		toolchain = ", built with " + info.GoVersion
	}
	return "gocat " + v + " for Solo5 ABI versions 1 and 2" + toolchain
}
