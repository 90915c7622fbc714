package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/container"
	"gocat/internal/oci/control"
	"gocat/internal/oci/state"
)

// specVersion is the version of the runtime specification.
var specVersion = specs.Version

// shown is a container as state and list print it: the specification's state, with
// runc's additions.
type shown struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
}

func show(s *state.Container) shown {
	v := shown{State: container.Report(s, s.Status()), Rootfs: s.Rootfs, Created: s.Created}
	var st unix.Stat_t
	if unix.Stat(s.Path("."), &st) == nil {
		v.Owner = strconv.Itoa(int(st.Uid))
		if u, err := user.LookupId(v.Owner); err == nil {
			v.Owner = u.Username
		}
	}
	return v
}

func printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(b, '\n'))
	return err
}

func printState(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	return printJSON(show(s))
}

func formatFlags(f *pflag.FlagSet, c *call) {
	f.StringVarP(&c.format, "format", "f", "table", "table or json")
}

func listFlags(f *pflag.FlagSet, c *call) {
	formatFlags(f, c)
	f.BoolVarP(&c.quiet, "quiet", "q", false, "print identifiers only")
}

func list(c *call) error {
	all, err := c.store().List()
	if err != nil {
		return err
	}
	items := []shown{}
	for _, s := range all {
		items = append(items, show(s))
	}
	switch {
	case c.quiet:
		for _, i := range items {
			fmt.Println(i.ID)
		}
		return nil
	case c.format == "json":
		b, err := json.Marshal(items)
		if err == nil {
			_, err = os.Stdout.Write(append(b, '\n'))
		}
		return err
	case c.format != "table":
		return errFormat
	}
	w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, i := range items {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", i.ID, i.Pid, i.Status, i.Bundle, i.Created.Format(time.RFC3339Nano), i.Owner)
	}
	return w.Flush()
}

var errFormat = errors.New("--format: want table or json")

// ps lists the container's processes: as a table, as ps(1) does of its own accord.
func ps(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	if s.Status() == state.Stopped {
		return state.ErrNotRunning
	}
	group, err := control.Open(&s.Cgroup, nil)
	if err != nil {
		return err
	}
	pids, err := group.Pids()
	if err != nil {
		return err
	}
	if group == nil {
		pids = []int{s.Pid}
	}
	switch c.format {
	case "json":
		return json.NewEncoder(os.Stdout).Encode(pids)
	case "table":
	default:
		return errFormat
	}
	w := tabwriter.NewWriter(os.Stdout, 8, 1, 2, ' ', 0)
	fmt.Fprint(w, "UID\tPID\tPPID\tCMD\n")
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/", pid)
		status, err := os.ReadFile(dir + "status")
		if err != nil {
			continue // gone meanwhile
		}
		line, _ := os.ReadFile(dir + "cmdline")
		words := strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " ")
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", field(status, "Uid"), pid, field(status, "PPid"), oneLine(words))
	}
	return w.Flush()
}

// field returns the first word of a field of /proc/PID/status.
func field(status []byte, name string) string {
	_, rest, _ := strings.Cut("\n"+string(status), "\n"+name+":")
	words := strings.Fields(rest)
	if len(words) == 0 {
		return ""
	}
	return words[0]
}
