package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"gocat/internal/gobuild"
	"gocat/internal/image"
)

func manifestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Show or make a manifest of devices",
		Long: `Read and write manifests, the lists of devices that unikernels declare, in the JSON
format of Solo5's elftool.`,
		Example: `  gocat manifest query cat.spt
  gocat manifest gen manifest.json > manifest.c`,
		Args: cobra.ArbitraryArgs,
		RunE: groupHelp,
	}
	cmd.AddCommand(manifestQuery(), manifestGen())
	return cmd
}

func manifestQuery() *cobra.Command {
	return &cobra.Command{
		Use:     "query IMAGE",
		Short:   "Print the manifest of a unikernel image as JSON",
		Example: `  gocat manifest query cat.spt | jq -r '.devices[].name'`,
		Args:    operands,
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			img, err := image.Parse(f)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return results(func(w io.Writer) error { return gobuild.WriteManifest(w, img.Manifest) })
		},
	}
}

func manifestGen() *cobra.Command {
	return &cobra.Command{
		Use:   "gen FILE",
		Short: "Make C source of a manifest.json, for Solo5's bindings",
		Long: `Check the manifest.json FILE and print the C source that declares it in programs
linked with Solo5's bindings, as Solo5's elftool gen-manifest does. gocat build
takes the JSON itself.`,
		Example: `  gocat manifest gen manifest.json > manifest.c`,
		Args:    operands,
		RunE: func(_ *cobra.Command, args []string) error {
			m, err := gobuild.ReadManifestFile(args[0])
			if err != nil {
				return err
			}
			return results(func(w io.Writer) error { return gobuild.WriteManifestSource(w, m) })
		},
	}
}
