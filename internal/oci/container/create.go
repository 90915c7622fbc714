// Package container creates, starts, signals and deletes containers whose
// process is a unikernel.
//
// Create starts the container's init, a process of this program, in the
// container's namespaces. It sets up the container from within, prepares the guest
// as far as that goes, and becomes a program of a few instructions that waits on a
// socket. Start tells it to go on: it becomes the guest, or the tender of an hvt guest.
// Nothing of the runtime is left then.
//
// What needs the host's rights or files is opened by create, and init gets
// descriptors: /dev/kvm, block devices, taps.
package container

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
	"gocat/internal/oci/control"
	"gocat/internal/oci/state"
)

// Options are those of create and run.
type Options struct {
	Bundle        string
	ConsoleSocket string
	PidFile       string
	NoPivot       bool
	NoNewKeyring  bool
	Systemd       bool // systemd makes control groups
	NoCgroup      bool // nobody does
	Rootless      bool // the host may let nobody do so
	Delegate      Delegate
	Warn          func(text string) // called with what is granted in part only
	// Args are the whole command line, for a runtime that it is handed on to.
	Args []string
}

// Create makes a container. Its init waits to be started. If it fails, nothing is
// left.
func Create(store state.Store, id string, o *Options) (err error) {
	spec, dir, err := bundle.Load(o.Bundle)
	if err != nil {
		return err
	}
	if spec.Process.Terminal && o.ConsoleSocket == "" {
		return errors.New("process.terminal is set, and there is no --console-socket")
	}
	if !spec.Process.Terminal && o.ConsoleSocket != "" {
		return errors.New("--console-socket is given, and process.terminal is not set")
	}
	if err := checkHost(spec); err != nil {
		return err
	}
	if missing := grant(spec); len(missing) > 0 {
		o.Warn("process.capabilities: the runtime does not have, so the container does not get: " + strings.Join(missing, " "))
	}
	c, err := store.Make(id)
	if err != nil {
		return err
	}
	unlock, err := c.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	c.Bundle, c.Rootfs, c.Annotations, c.Hooks = dir, spec.Root.Path, spec.Annotations, spec.Hooks
	pause, to, err := o.Delegate.choose(spec)
	if err == nil && to != "" {
		c.Delegate = to
		if err = c.Save(); err == nil {
			err = runDelegate(c, o.Args)
		}
	} else if err == nil {
		err = create(c, spec, o, pause)
	}
	if err != nil {
		err = errors.Join(err, destroy(c))
	}
	return err
}

// Delegated reports whether a container was handed on.
func Delegated(c *state.Container) bool { return c.Delegate != "" }

// creation is what create has in hand.
type creation struct {
	*state.Container
	spec    *specs.Spec
	options *Options
	group   *control.Group
	init    int // number of its process
	conn    conn
	files   []*os.File // that init gets, from bootstrapFD on
}

func create(c *state.Container, spec *specs.Spec, o *Options, pause bool) (err error) {
	n := &creation{Container: c, spec: spec, options: o}
	defer func() {
		for _, f := range n.files {
			f.Close()
		}
	}()
	if c.Cgroup, err = control.Place(c.ID, spec.Linux.CgroupsPath, o.Systemd, o.NoCgroup, o.Rootless); err != nil {
		return err
	}
	resources, err := control.Resources(spec.Linux.Resources)
	if err != nil {
		return err
	}
	c.Pids = control.HoldBack(resources)
	if n.group, err = control.Open(&c.Cgroup, resources); err != nil {
		return err
	}
	if n.group.Used() {
		c.Cgroup.Disabled = true // it is another's, and not to be removed
		return fmt.Errorf("linux.cgroupsPath: the control group %s has processes already", spec.Linux.CgroupsPath)
	}
	if err := c.Save(); err != nil { // before there is anything to remove
		return err
	}
	b := &bootstrap{Spec: spec, State: Report(c, state.Creating), NoPivot: o.NoPivot, Keyring: !o.NoNewKeyring, Pause: pause,
		Blocks: map[string]int{}, Console: none, KVM: none, Gocat: none}
	if err := n.open(b); err != nil {
		return err
	}
	if err := n.start(); err != nil {
		return err
	}
	if err := n.talk(); err != nil {
		n.end()
		return err
	}
	return nil
}

// end kills init, and returns how it has ended.
func (n *creation) end() (status syscall.WaitStatus) {
	unix.Kill(n.init, unix.SIGKILL) // our child: its number is nobody else's before it is waited for
	for {
		if _, err := syscall.Wait4(n.init, &status, 0, nil); err != syscall.EINTR {
			return status
		}
	}
}

// open opens what init needs.
func (n *creation) open(b *bootstrap) error {
	listener, err := n.Listen()
	if err != nil {
		return err
	}
	ours, theirs, err := newConn()
	if err != nil {
		return err
	}
	n.conn = ours
	n.files = []*os.File{nil, theirs.File, listener}
	add := func(f *os.File) int {
		n.files = append(n.files, f)
		return bootstrapFD + len(n.files) - 1
	}
	if path := n.options.ConsoleSocket; path != "" {
		f, err := dial(path)
		if err != nil {
			return fmt.Errorf("console socket: %w", err)
		}
		b.Console = add(f)
	}
	if !b.Pause {
		blocks, err := openBlocks(n.spec)
		if err != nil {
			return err
		}
		for name, f := range blocks {
			b.Blocks[name] = add(f)
		}
		if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
			b.KVM = add(f)
		}
		if f, err := gocat(); err == nil {
			b.Gocat = add(f)
		}
	}
	config, err := memfd(b)
	n.files[0] = config
	return err
}

// gocat opens the program gocat, beside this one or in ../../bin from there.
func gocat() (*os.File, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(self)
	for _, path := range []string{filepath.Join(dir, "gocat"), filepath.Join(dir, "..", "..", "bin", "gocat")} {
		if unix.Access(path, unix.X_OK) == nil {
			return openReadOnly(path)
		}
	}
	return nil, os.ErrNotExist
}

// openReadOnly opens a program on a mount of its own that is read only, where the
// kernel has such (Linux 5.12): whoever gets at the descriptor or at /proc/PID/exe
// cannot open the host's file for writing through it.
func openReadOnly(path string) (*os.File, error) {
	mount, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.Open(path)
	}
	defer unix.Close(mount)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if unix.MountSetattr(mount, "", unix.AT_EMPTY_PATH, &attr) != nil {
		return os.Open(path)
	}
	return os.Open("/proc/self/fd/" + strconv.Itoa(mount))
}

// dial connects to a socket by its path.
func dial(path string) (*os.File, error) {
	a, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.(*net.UnixConn).File()
}

// start starts init, in a thread that joins namespaces first, if there are some: it is
// one that ends with this.
func (n *creation) start() error {
	if err := keepFromHooks(); err != nil { // and from init: fork gives it copies of its own
		return err
	}
	_, join := cloneFlags(n.spec)
	err := error(nil)
	if len(join) == 0 {
		err = n.fork()
	} else {
		done := make(chan error)
		go func() {
			runtime.LockOSThread()
			if err := joinAll(join); err != nil {
				done <- err
				return
			}
			done <- n.fork()
		}()
		err = <-done
	}
	for _, f := range n.files {
		f.Close()
	}
	n.files = nil
	return err
}

// joinAll has the calling thread join namespaces.
func joinAll(join []specs.LinuxNamespace) error {
	for _, ns := range join {
		f, err := os.Open(ns.Path)
		if err != nil {
			return fmt.Errorf("linux.namespaces: %s: %w", ns.Type, err)
		}
		err = unix.Setns(int(f.Fd()), int(bundle.Namespaces[ns.Type]))
		f.Close()
		if err != nil {
			return fmt.Errorf("linux.namespaces: %s %s: %w", ns.Type, ns.Path, err)
		}
	}
	return nil
}

// fork starts init from the calling thread. os.StartProcess would do the same, and
// first start a process to see what the kernel can do.
func (n *creation) fork() (err error) {
	a := &syscall.ProcAttr{Env: []string{"GOMAXPROCS=1", "GOGC=off"}, // it does little, and one thing after the other
		Files: []uintptr{0, 1, 2}, Sys: attributes(n.spec)}
	for _, f := range n.files {
		a.Files = append(a.Files, f.Fd())
	}
	if n.init, err = syscall.ForkExec("/proc/self/exe", []string{"gocat-oci", InitCommand}, a); err != nil {
		return fmt.Errorf("start the container's init: %w", err)
	}
	return nil
}

// talk sets init up from without, as it asks.
func (n *creation) talk() error {
	pid := n.init
	if err := n.group.Enter(pid); err != nil {
		return err
	}
	if err := control.SetOOMScore(pid, n.spec.Process.OOMScoreAdj); err != nil {
		return err
	}
	if err := n.conn.send(&message{}); err != nil {
		return err
	}
	said, _, err := n.conn.receive()
	if err == nil && !said.Ready {
		if err := n.answer(pid, said.Wants); err != nil {
			return err
		}
		_, _, err = n.conn.receive()
	}
	if err != nil {
		return n.died(err)
	}
	birth, _ := state.Process(pid)
	n.Pid, n.Birth = pid, birth
	if err := n.Save(); err != nil {
		return err
	}
	if err := writePid(n.options.PidFile, pid); err != nil {
		return err
	}
	if err := n.conn.send(&message{}); err != nil {
		return err
	}
	if _, _, err := n.conn.receive(); err != errGone { // which tells that it waits to be started
		return err
	}
	return nil
}

// answer runs hooks, and gives init the networks that it asks for.
func (n *creation) answer(pid int, wants *state.Wants) error {
	s := Report(n.Container, state.Creating)
	s.Pid = pid
	if h := n.spec.Hooks; h != nil {
		//lint:ignore SA1019 engines still use what the specification calls deprecated
		if err := runHooks("prestart", h.Prestart, s); err != nil {
			return err
		}
		if err := runHooks("createRuntime", h.CreateRuntime, s); err != nil {
			return err
		}
	}
	wants.Resolv = resolvConf(n.spec)
	if len(wants.Nets) > 0 && networkIsLate(n.spec) {
		n.Network = wants
		return n.conn.send(&message{Later: true})
	}
	answer, taps, err := network(n.Container, pid, wants)
	if err != nil {
		return err
	}
	err = n.conn.send(answer, taps...)
	for _, t := range taps {
		t.Close()
	}
	return err
}

// died says how init ended, where it did not say it itself.
func (n *creation) died(err error) error {
	if !errors.Is(err, errGone) {
		return err
	}
	status := n.end()
	if n.group != nil {
		if stats, err := n.group.Stats(); err == nil && stats.MemoryStats.Usage.Failcnt > 0 {
			return errors.New("the container's init was killed: linux.resources.memory.limit is too low to start the guest")
		}
	}
	return fmt.Errorf("the container's init ended before it was ready: %s", ended(status))
}

// ended says how a process ended.
func ended(s syscall.WaitStatus) string {
	if s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("status %d", s.ExitStatus())
}

// writePid writes a process number to a file, all of it or nothing.
func writePid(path string, pid int) error {
	if path == "" {
		return nil
	}
	fresh := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.Itoa(os.Getpid()))
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // not another's, nor through a link
	if err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	_, err = f.WriteString(strconv.Itoa(pid))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		os.Remove(fresh)
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
