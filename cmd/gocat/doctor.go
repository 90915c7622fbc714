package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gocat/internal/doctor"
)

func doctorCommand() *cobra.Command {
	var format string
	var probe bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check whether this host can run guests",
		Long: `Look at what guests need of the host and say in a line each what was found, what
it means and how to fix it. WARN is something that works less well, or that
only hvt guests need. The exit status is 1 if gocat run cannot run spt guests
(FAIL).`,
		Example: `  gocat doctor
  gocat doctor --format json | jq '.[] | select(.status != "OK")'`,
		Args: operands,
		RunE: func(*cobra.Command, []string) error {
			if probe {
				return doctor.ProbeCalls(os.Stdout)
			}
			checks := (&doctor.Host{Root: "/", Gocat: self, UserNetwork: userNetwork}).Check()
			var err error
			if format == "json" {
				err = printJSON(checks)
			} else {
				err = results(func(w io.Writer) error { return printChecks(w, checks) })
			}
			if err != nil {
				return err
			}
			return failures(checks)
		},
	}
	formats(cmd, &format, "text", "json")
	cmd.Flags().BoolVar(&probe, "probe-calls", false, "try each system call")
	cmd.Flags().MarkHidden("probe-calls")
	return cmd
}

func printChecks(w io.Writer, checks []doctor.Result) error {
	for _, c := range checks {
		if _, err := fmt.Fprintf(w, "%-4v  %-16s  %v\n", c.Status, c.Check, c); err != nil {
			return err
		}
	}
	return nil
}

// failures is an error that names the checks that failed, or nil.
func failures(checks []doctor.Result) error {
	var failed []string
	for _, c := range checks {
		if c.Status == doctor.Fail {
			failed = append(failed, c.Check)
		}
	}
	if failed == nil {
		return nil
	}
	return errors.New("gocat cannot run spt guests on this host: " + strings.Join(failed, ", "))
}

// userNetwork has gocat-net try what it may not do.
func userNetwork() (layers []string, err error) {
	d := attackNetwork()
	if d.Missing != "" {
		return nil, errors.New(d.Missing)
	}
	return d.Layers, d.err()
}

// self runs this program.
func self(input []byte, args ...string) (doctor.Outcome, error) {
	exe, err := os.Executable()
	if err != nil { // without /proc
		if exe, err = exec.LookPath(os.Args[0]); err != nil {
			return doctor.Outcome{}, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &stdout, &stderr
	err = cmd.Run()
	out := doctor.Outcome{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return out, fmt.Errorf("gocat %s did not end within 20 s", strings.Join(args, " "))
	}
	if errors.As(err, &exit) {
		out.Status = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			out.Status = 128 + int(ws.Signal())
		}
		return out, nil
	}
	return out, err
}
