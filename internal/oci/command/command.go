// Package command is the command line of the container runtime: the verbs and
// options of runc and crun, so that engines need no change.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/userns"
	"github.com/spf13/pflag"

	"gocat/internal/oci/container"
	"gocat/internal/oci/state"
	"gocat/internal/tender"
	"gocat/internal/version"
)

// Name is the program's, as engines know it.
const Name = "gocat-oci"

// global are the options before the verb.
type global struct {
	root, log, logFormat, manager string
	criu, rootless                string
	systemd, debug                bool
	delegate                      string
	rest                          []string // the command line without the options that are our own
}

// verb is what the runtime can be told to do.
type verb struct {
	name, args, short string
	min, max          int // number of arguments
	run               func(*call) error
	flags             func(*pflag.FlagSet, *call)
}

// call is a verb with what it was given.
type call struct {
	*global
	verb *verb
	args []string
	// Options of verbs.
	create                      container.Options
	detach, keep, force, all    bool
	stats, quiet                bool
	format, interval, resources string
	preserve                    int
	bundle                      string
	update                      update
}

var verbs []verb

func init() {
	verbs = []verb{
		{"create", "ID", "make a container, whose unikernel waits to be started", 1, 1, create, createFlags},
		{"start", "ID", "start a created container", 1, 1, start, nil},
		{"run", "ID", "create and start a container, and wait for its end", 1, 1, run, runFlags},
		{"state", "ID", "print what a container is doing", 1, 1, printState, nil},
		{"kill", "ID [SIGNAL]", "send a container a signal (default SIGTERM)", 1, 2, kill, killFlags},
		{"delete", "ID", "remove a container that has stopped", 1, 1, remove, deleteFlags},
		{"list", "", "list containers", 0, 0, list, listFlags},
		{"ps", "ID", "list a container's processes", 1, -1, ps, formatFlags},
		{"pause", "ID", "keep a container from running", 1, 1, pause, nil},
		{"resume", "ID", "let a paused container run", 1, 1, resume, nil},
		{"update", "ID", "change a container's limits", 1, 1, changeLimits, updateFlags},
		{"events", "ID", "print what a container has used", 1, 1, events, eventsFlags},
		{"features", "", "print what the runtime can do", 0, 0, printFeatures, nil},
		{"spec", "", "write a config.json to start from", 0, 0, writeSpec, specFlags},
		{"exec", "ID COMMAND", "refused: a unikernel has one program", 0, -1, refuse, nil},
		{"checkpoint", "ID", "refused", 0, -1, refuse, nil},
		{"restore", "ID", "refused", 0, -1, refuse, nil},
	}
}

// Main runs the command line and returns the exit status.
func Main(args []string) int {
	if len(args) == 1 && args[0] == container.InitCommand {
		if err := container.Init(); err != nil && err.Error() != "" {
			fmt.Fprintf(os.Stderr, "%s: %s\n", Name, err)
		}
		return 1
	}
	g := &global{}
	status, err := g.main(args)
	if err != nil {
		text := oneLine(err.Error())
		fmt.Fprintf(os.Stderr, "%s: %s\n", Name, text)
		g.record("error", text)
		return 1
	}
	return status
}

// errHelp says that help was printed.
var errHelp = errors.New("help")

// exitStatus is the status of a container that run has waited for.
type exitStatus int

func (e exitStatus) Error() string { return "" }

func (g *global) main(args []string) (int, error) {
	flags := g.flags()
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		usage()
		return 0, nil
	} else if err != nil {
		return 1, err
	}
	g.rest = delegable(args[:len(args)-flags.NArg()])
	if v, _ := flags.GetBool("version"); v {
		fmt.Printf("%s version %s\nspec: %s\n", Name, version.String(), specVersion)
		return 0, nil
	}
	words := flags.Args()
	if len(words) == 0 || words[0] == "help" {
		usage()
		return 0, nil
	}
	i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == words[0] })
	if i < 0 {
		return 1, fmt.Errorf("unknown command %.40q: %s --help lists them", words[0], Name)
	}
	c := &call{global: g, verb: &verbs[i], args: words[1:]}
	if c.verb.min > 0 || c.verb.flags != nil { // those that are refused take anything
		if err := c.parse(); err != nil {
			if errors.Is(err, errHelp) {
				return 0, nil
			}
			return 1, err
		}
	}
	c.create.Args = append(g.rest, words...)
	err := c.verb.run(c)
	var status exitStatus
	if errors.As(err, &status) {
		return int(status), nil
	}
	return 0, err
}

func (g *global) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet(Name, pflag.ContinueOnError)
	f.SetInterspersed(false)
	f.Usage = func() {}
	f.StringVar(&g.root, "root", defaultRoot(), "directory of containers' state")
	f.StringVar(&g.log, "log", "", "write errors to this file too")
	f.StringVar(&g.logFormat, "log-format", "text", "text or json")
	f.BoolVar(&g.debug, "debug", false, "taken for runc's sake")
	f.BoolVar(&g.systemd, "systemd-cgroup", false, "have systemd make control groups")
	f.StringVar(&g.manager, "cgroup-manager", "cgroupfs", "cgroupfs, systemd or disabled")
	f.StringVar(&g.rootless, "rootless", "auto", "do without control groups that the host forbids: auto, true or false")
	f.StringVar(&g.criu, "criu", "", "taken for runc's sake")
	f.StringVar(&g.delegate, "delegate", "auto", "runtime of containers that are no unikernels: auto, none or a program")
	f.Bool("version", false, "print the version")
	f.BoolP("v", "v", false, "print the version")
	f.Lookup("v").Hidden = true
	return f
}

// delegable are the options that another runtime takes too.
func delegable(args []string) (rest []string) {
	own := map[string]bool{"--root": true, "--delegate": true, "--cgroup-manager": true, "--rootless": true, "--criu": true}
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(args[i], "=")
		if !own[name] {
			rest = append(rest, args[i])
		} else if !joined {
			i++
		}
	}
	return rest
}

func defaultRoot() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && (os.Geteuid() != 0 || userns.RunningInUserNS()) {
		return filepath.Join(dir, Name)
	}
	return "/run/" + Name
}

// parse reads the verb's own options and checks the number of arguments.
func (c *call) parse() error {
	f := pflag.NewFlagSet(c.verb.name, pflag.ContinueOnError)
	f.Usage = func() {}
	if c.verb.flags != nil {
		c.verb.flags(f, c)
	}
	if c.verb.max < 0 {
		f.SetInterspersed(false)
	}
	if err := f.Parse(c.args); errors.Is(err, pflag.ErrHelp) {
		fmt.Printf("%s %s [OPTION ...] %s: %s\n\n%s", Name, c.verb.name, c.verb.args, c.verb.short, f.FlagUsagesWrapped(80))
		return errHelp
	} else if err != nil {
		return err
	}
	c.args = f.Args()
	if n := len(c.args); n < c.verb.min || c.verb.max >= 0 && n > c.verb.max {
		return fmt.Errorf("%s: want %s", c.verb.name, strings.TrimSpace("the arguments "+c.verb.args))
	}
	return nil
}

func usage() {
	fmt.Printf("%s [GLOBAL OPTION ...] COMMAND [OPTION ...] [ARGUMENT ...]\n\nRun containers whose process is a unikernel. Engines start it.\n\n", Name)
	for _, v := range verbs {
		fmt.Printf("  %-12s%s\n", v.name, v.short)
	}
	fmt.Printf("\n%s", (&global{}).flags().FlagUsagesWrapped(80))
}

// store is the directory of containers' state.
func (g *global) store() state.Store { return state.Store(g.root) }

// oneLine makes a message safe for one line.
func oneLine(s string) string { return tender.OneLine(s) }

// warn says what an engine might want to know, in the log if there is one.
func (g *global) warn(text string) {
	text = oneLine(text)
	if g.record("warning", text); g.log == "" {
		fmt.Fprintf(os.Stderr, "%s: warning: %s\n", Name, text)
	}
}

// record writes a line to the log. Of errors, engines read the last.
func (g *global) record(level, text string) {
	if g.log == "" {
		return
	}
	f, err := os.OpenFile(g.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return
	}
	defer f.Close()
	now := time.Now().Format(time.RFC3339)
	if g.logFormat != "json" {
		fmt.Fprintf(f, "time=%q level=%s msg=%q\n", now, level, text)
		return
	}
	b, _ := json.Marshal(map[string]string{"level": level, "msg": text, "time": now})
	f.Write(append(b, '\n'))
}
