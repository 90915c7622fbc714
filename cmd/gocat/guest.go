package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"gocat/internal/guests"
	"gocat/internal/image"
)

func guestCommand() *cobra.Command {
	path, backend := "", "spt"
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
		Args:      operands,
		ValidArgs: []string{"advanced", "simple"},
		RunE: func(cmd *cobra.Command, args []string) error {
			variant, target := guests.Advanced, image.SPT
			switch {
			case len(args) == 0 || args[0] == "advanced":
			case args[0] == "simple":
				variant = guests.Simple
			default:
				return unknownWord(args[0], []string{"advanced", "simple"})
			}
			var err error
			if backend, err = targetOf(path, "--backend", backend, cmd.Flags().Changed("backend")); err != nil {
				return err
			}
			switch {
			case path == "":
				return errors.New("no output file: give one with -o FILE")
			case backend == "hvt":
				target = image.HVT
			}
			cat, err := guests.Cat(target, variant)
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
	choose(cmd, &backend, "backend", "make it for this backend", "spt", "hvt")
	return cmd
}
