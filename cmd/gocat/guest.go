package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"gocat/guest"
	"gocat/internal/image"
)

func guestCommand() *cobra.Command {
	var path, backend string
	cmd := &cobra.Command{
		Use:   "guest -o FILE [advanced|simple]",
		Short: "Write the image of the bundled cat",
		Long: `Write the unikernel that gocat run uses when it is given none: a cat that copies
its network device "stdin" to the console. advanced reads as much as there is,
up to 1 MiB at once; simple reads packets of at most the device's MTU. Both run
under Solo5's own tenders as well.`,
		Example: `  gocat guest -o cat.spt
  gocat guest --backend=hvt -o cat.hvt simple
  gocat run --net:stdin=@0 cat.spt --solo5:quiet -l netif:quiet < README.md`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"advanced", "simple"},
		RunE: func(_ *cobra.Command, args []string) error {
			variant, target := guest.Advanced, image.SPT
			if len(args) == 1 && args[0] == "simple" {
				variant = guest.Simple
			}
			switch {
			case path == "":
				return errors.New("no output file: give one with -o FILE")
			case backend == "hvt":
				target = image.HVT
			case backend != "spt":
				return errors.New("--backend: want spt or hvt")
			}
			cat, err := guest.Cat(target, variant)
			if err != nil {
				return err
			}
			return writeFile(path, 0o644, func(w io.Writer) error {
				_, err := w.Write(cat)
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write `FILE` (- is standard output)")
	cmd.Flags().StringVar(&backend, "backend", "spt", "build for `spt|hvt`")
	cmd.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions([]string{"spt", "hvt"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
