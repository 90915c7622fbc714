package command

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"github.com/moby/sys/userns"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/container"
	"gocat/internal/oci/state"
)

func createFlags(f *pflag.FlagSet, c *call) {
	o := &c.create
	f.StringVarP(&o.Bundle, "bundle", "b", ".", "directory of config.json")
	f.StringVar(&o.ConsoleSocket, "console-socket", "", "send the terminal's descriptor to this socket")
	f.StringVar(&o.PidFile, "pid-file", "", "write the process number to this file")
	f.BoolVar(&o.NoPivot, "no-pivot", false, "change the root without pivot_root")
	f.BoolVar(&o.NoNewKeyring, "no-new-keyring", false, "keep the session keyring")
	f.IntVar(&c.preserve, "preserve-fds", 0, "descriptors that stay open: 0, for a guest has those of its devices alone")
}

func runFlags(f *pflag.FlagSet, c *call) {
	createFlags(f, c)
	f.BoolVarP(&c.detach, "detach", "d", false, "do not wait for the container's end")
	f.BoolVar(&c.keep, "keep", false, "do not delete the container at its end")
	f.Bool("no-subreaper", false, "taken for runc's sake")
}

// options completes create's options with the global ones.
func (c *call) options() (*container.Options, error) {
	o := &c.create
	if c.preserve > 0 {
		return nil, errors.New("--preserve-fds is not supported: a guest has the descriptors of its devices alone")
	}
	o.Systemd, o.Delegate, o.Warn = c.systemd, container.Delegate(c.delegate), c.warn
	switch c.manager {
	case "cgroupfs":
	case "systemd":
		o.Systemd = true
	case "disabled":
		o.NoCgroup = true
	default:
		return nil, fmt.Errorf("--cgroup-manager: %.40q: want cgroupfs, systemd or disabled", c.manager)
	}
	o.Rootless = os.Geteuid() != 0 || userns.RunningInUserNS()
	if c.rootless != "auto" {
		var err error
		if o.Rootless, err = strconv.ParseBool(c.rootless); err != nil {
			return nil, fmt.Errorf("--rootless: %.40q: want auto, true or false", c.rootless)
		}
	}
	return o, nil
}

func create(c *call) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	return container.Create(c.store(), c.args[0], o)
}

// load returns the container that the verb is about. One that another runtime has is
// handed on to that.
func (c *call) load() (*state.Container, error) {
	s, err := c.store().Load(c.args[0])
	if err != nil {
		return nil, err
	}
	if container.Delegated(s) {
		return nil, container.HandOn(s, c.create.Args)
	}
	return s, nil
}

func start(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	return container.Start(s)
}

func run(c *call) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 16)
	if !c.detach {
		signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT, unix.SIGWINCH)
	}
	if err := container.Create(c.store(), c.args[0], o); err != nil {
		return err
	}
	s, err := c.store().Load(c.args[0])
	if err != nil {
		return err
	}
	if container.Delegated(s) { // it has run already
		if c.detach {
			return nil
		}
		return s.Remove()
	}
	if err := container.Start(s); err != nil {
		return errors.Join(err, container.Delete(s, true, c.warn))
	}
	if c.detach {
		return nil
	}
	go func() {
		for sig := range signals {
			container.Kill(s, sig.(unix.Signal), false)
		}
	}()
	status := wait(s.Pid)
	if !c.keep {
		if err := container.Delete(s, true, c.warn); err != nil {
			return err
		}
	}
	return exitStatus(status)
}

// wait waits for a child and returns its status as a shell shows it.
func wait(pid int) int {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 255
		case ws.Signaled():
			return 128 + int(ws.Signal())
		case ws.Exited():
			return ws.ExitStatus()
		}
	}
}

func killFlags(f *pflag.FlagSet, c *call) {
	f.BoolVarP(&c.all, "all", "a", false, "all processes of the control group")
}

func kill(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	sig := unix.SIGTERM
	if len(c.args) > 1 {
		if sig, err = container.ParseSignal(c.args[1]); err != nil {
			return err
		}
	}
	return container.Kill(s, sig, c.all)
}

func deleteFlags(f *pflag.FlagSet, c *call) {
	f.BoolVarP(&c.force, "force", "f", false, "kill it if it runs; no error if there is none")
}

func remove(c *call) error {
	s, err := c.store().Load(c.args[0])
	var none *state.NotExistError
	if errors.As(err, &none) && c.force {
		return nil
	}
	if err != nil {
		return err
	}
	if container.Delegated(s) {
		return container.DeleteDelegated(s, c.create.Args)
	}
	if err = container.Delete(s, c.force, c.warn); errors.As(err, &none) && c.force {
		return nil
	}
	return err
}

func pause(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	return container.Freeze(s, true)
}

func resume(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	return container.Freeze(s, false)
}

func refuse(c *call) error {
	if s := c.delegatedIn(); s != nil {
		return container.HandOn(s, c.create.Args)
	}
	if c.verb.name == "exec" {
		return errors.New("exec is not supported: a unikernel has one program and no shell")
	}
	return fmt.Errorf("%s is not supported for unikernels", c.verb.name)
}

// delegatedIn finds the container of another runtime that the arguments name, among
// options that are that one's.
func (c *call) delegatedIn() *state.Container {
	for _, a := range c.args {
		if s, err := c.store().Load(a); err == nil && container.Delegated(s) {
			return s
		}
	}
	return nil
}
