package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"gocat/internal/debug"
	"gocat/internal/ps"
)

func dumpCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "dump -o FILE PID",
		Short: "Write a core file of a running guest",
		Long: `Write a core file of the guest whose process is PID (gocat ps lists them). The
guest stops meanwhile and then goes on. gdb and readelf read the file. It holds
the guest's secrets and is for its owner alone.

It takes root: nobody else may look into a guest. An hvt guest's tender stays as
confined as it is; for the FPU, SSE and AVX registers it takes a kernel with
CONFIG_CHECKPOINT_RESTORE, and without it these are zeros.`,
		Example: `  gocat dump -o core $(pidof web)
  gdb web.spt core`,
		Args: operands,
		RunE: func(_ *cobra.Command, args []string) error {
			pid, err := strconv.Atoi(args[0])
			if err != nil || pid < 1 {
				return fmt.Errorf("%q: want the number of a guest's process, as gocat ps has it", args[0])
			}
			if path == "" {
				return errors.New("no output file: give one with -o FILE")
			}
			g, err := runningGuest(pid)
			if err != nil {
				return err
			}
			if err := writable(path); err != nil {
				return err
			}
			signals := endings() // none may end this process while the guest is looked at
			s, err := debug.Stop(debug.Running{PID: pid, HVT: g.Backend == "hvt", Image: g.Image, Memory: g.Memory})
			signal.Stop(signals)
			if err != nil {
				return err
			}
			defer s.Close()
			select {
			case sig := <-signals:
				os.Exit(statusOf(sig)) // the guest goes on with that
			default:
			}
			return writeFile(path, 0o600, func(w io.Writer) error {
				f, ok := w.(*os.File)
				if !ok {
					return errNoFile
				}
				return s.Dump(f)
			})
		},
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write `FILE`")
	return cmd
}

var errNoFile = errors.New("a core file is written to a file: give one with -o FILE")

// runningGuest finds the guest of a process.
func runningGuest(pid int) (ps.Guest, error) {
	all, err := ps.List("/proc")
	if err != nil {
		return ps.Guest{}, err
	}
	at := slices.IndexFunc(all, func(g ps.Guest) bool { return g.PID == pid })
	if at < 0 {
		return ps.Guest{}, fmt.Errorf("process %d is no guest: gocat ps lists those that are", pid)
	}
	return all[at], nil
}
