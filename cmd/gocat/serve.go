package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"gocat/internal/serve"
	"gocat/internal/tender"
	"gocat/internal/usernet"
)

func serveCommand() *cobra.Command {
	var publish []string
	var idle string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve [OPTION ...] FILE",
		Short: "Run a sealed unikernel only while somebody uses it",
		Long: `Hold the published ports of the unikernel that gocat seal has written to FILE,
and start it when somebody connects to one of them. The connection waits for it.
When nobody has used it for the time that idle= or --idle says, it is asked to end
(SIGTERM); the next connection starts it again. None is lost meanwhile. In
between, only the network's process waits, and this one.

The unikernel has one network device, with a user network: seal it with
--net NAME=user[,idle=TIME] --publish HOST:GUEST. A unikernel that was sealed with
--warm serves a few milliseconds after the connection. Sockets that a service
manager passes (LISTEN_FDS) are the ports instead.

A unikernel that fails is started again for the next connection, after a pause
that grows while it fails at once. SIGTERM ends it, and this process.`,
		Example: `  gocat seal --warm-at=listening -o web --net service=user,idle=30s \
      --publish 8080:80 web.spt
  gocat serve ./web
  gocat serve --idle=5m --publish 0.0.0.0:80:80 ./web`,
		Args:                  cobra.ExactArgs(1),
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			guest, file, err := servedGuest(args[0])
			if err != nil {
				return err
			}
			defer file.Close()
			if len(publish) > 0 {
				guest.User.Publish = publish
			}
			if idle != "" {
				if _, err := usernet.ParseIdle(idle); err != nil {
					return fmt.Errorf("--idle: %w", err)
				}
				guest.User.Spec += ",idle=" + idle
			}
			if verbose {
				guest.User.Say = tender.Say
			}
			if len(guest.User.Publish) == 0 {
				return fmt.Errorf("%s: no port is published, so nothing would start it: give one with --publish", args[0])
			}
			return serve.Run(file, guest, func(line string) { tender.Complain(fmt.Errorf("%s", line), 0) })
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&publish, "publish", nil, "instead of the ports that it was sealed with, `[IP:]HOST:GUEST[/udp]`")
	flags.StringVar(&idle, "idle", "", "end it when nobody has used it for `TIME`, such as 30s")
	flags.BoolVarP(&verbose, "verbose", "v", false, "say what its network is, and what holds the network's process")
	return cmd
}

// servedGuest opens a sealed guest and reads what it says of itself.
func servedGuest(path string) (guest serve.Guest, file *os.File, err error) {
	file, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not hang
	if err != nil {
		return guest, nil, err
	}
	facts, err := tender.ReadSealed(file)
	if err == nil {
		guest, err = serve.Of(facts)
	}
	if err == nil {
		err = unix.Access(path, unix.X_OK)
	}
	if err != nil {
		file.Close()
		return guest, nil, fmt.Errorf("%s: %w", path, err)
	}
	return guest, file, nil
}
