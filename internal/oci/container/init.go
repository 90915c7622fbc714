package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
	"gocat/internal/oci/root"
	"gocat/internal/oci/state"
	"gocat/internal/plan"
)

// InitCommand is the verb with which create starts a container's init.
const InitCommand = "init"

// Init is a container's init until it becomes the guest. The namespaces are there,
// by the thread that calls, which must be the process's first and locked.
func Init() error {
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // others in a shared namespace must not look in
	if err := keepFromHooks(); err != nil {
		return err
	}
	f := os.NewFile(bootstrapFD, "config")
	data, err := io.ReadAll(f)
	f.Close()
	if err != nil {
		return err
	}
	var b bootstrap
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	create := conn{os.NewFile(messagesFD, "create")}
	g, err := prepare(&b, create)
	if err != nil {
		create.send(&message{Error: err.Error()})
		return errSaid
	}
	if err := b.finish(g, create); err != nil {
		create.send(&message{Error: err.Error()})
		return errSaid
	}
	return nil
}

// finish has init wait until the container is started, and become the guest. It
// returns only on error.
func (b *bootstrap) finish(g *guest, create conn) error {
	h, p := b.Spec.Hooks, b.Spec.Process
	if (h == nil || len(h.StartContainer) == 0) && p.ApparmorProfile+p.SelinuxLabel == "" && !g.later {
		if err := credentials(b.Spec); err != nil {
			return err
		}
		g.survive()
		return becomeWaiting(g.exe, g.args, b.Spec.Process) // which closes create
	}
	// Hooks are run, networks come and labels take effect with the next program, when
	// the container has been started: so it is this one that waits.
	create.Close()
	return state.Await(os.NewFile(listenerFD, "start"), func(word []byte, taps []int) error {
		if g.later {
			answer := &message{}
			if err := json.Unmarshal(word, answer); err != nil {
				return err
			}
			if err := g.ready(b, answer, taps); err != nil {
				return err
			}
		}
		s := b.State
		s.Status, s.Pid = specs.StateCreated, os.Getpid()
		if err := credentials(b.Spec); err != nil {
			return err
		}
		// The image has these hooks' programs: they get no more than the process.
		if b.Spec.Hooks != nil {
			if err := runHooks("startContainer", b.Spec.Hooks.StartContainer, s); err != nil {
				return err
			}
		}
		g.survive()
		if err := limit(b.Spec.Process, true); err != nil {
			return err
		}
		if err := block(); err != nil {
			return err
		}
		return fmt.Errorf("could not become the guest: %w", plan.BecomeWith(g.exe, g.args))
	})
}

// keepFromHooks keeps all descriptors but the standard ones from what init executes.
// What the guest is to have survives by guest.survive.
func keepFromHooks() error {
	err := unix.CloseRange(bootstrapFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd") // CLOSE_RANGE_CLOEXEC is of Linux 5.11
	if err != nil {
		return err
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= bootstrapFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// errSaid is an error that create has been told of.
var errSaid = errors.New("")

// prepare sets up the container, and the guest as far as it goes before it runs.
func prepare(b *bootstrap, create conn) (*guest, error) {
	if _, _, err := create.receive(); err != nil {
		return nil, err
	}
	s := b.Spec
	if err := enter(s); err != nil {
		return nil, err
	}
	if b.Keyring {
		if _, err := unix.KeyctlJoinSessionKeyring(b.State.ID); err != nil && err != unix.ENOSYS && err != unix.EDQUOT {
			return nil, fmt.Errorf("session keyring: %w", err)
		}
	}
	if err := root.Sysctl(s.Linux.Sysctl); err != nil {
		return nil, err
	}
	r, err := root.Mount(s)
	if err != nil {
		return nil, err
	}
	if err := stdio(b, r); err != nil {
		return nil, err
	}
	g := &guest{blocks: map[string]int{}}
	ask := &message{Wants: &state.Wants{}}
	if !b.Pause {
		if g, err = newGuest(s, r.Dir); err != nil {
			return nil, err
		}
		ask.Wants = &state.Wants{Nets: g.nets(), First: g.first, Args: g.inv.Args, Go: g.loaded.Image.Fault != 0}
	}
	answer, taps := &message{}, []int(nil)
	if len(ask.Wants.Nets) > 0 || hooked(s.Hooks) {
		if err := create.send(ask); err != nil {
			return nil, err
		}
		if answer, taps, err = create.receive(); err != nil {
			return nil, err
		}
	}
	state := b.State
	state.Pid = os.Getpid()
	if s.Hooks != nil {
		if err := runHooks("createContainer", s.Hooks.CreateContainer, state); err != nil {
			return nil, err
		}
	}
	enterRoot := r.Enter
	if b.NoPivot {
		enterRoot = r.EnterMoved
	}
	if err := enterRoot(); err != nil {
		return nil, err
	}
	for name, fd := range b.Blocks {
		if _, twice := g.blocks[name]; twice {
			return nil, fmt.Errorf("block device '%s' is both the image's and a mount", name)
		}
		g.blocks[name] = fd
	}
	switch g.later = answer.Later; {
	case g.later:
	case b.Pause:
		err = g.pause()
	default:
		err = g.ready(b, answer, taps)
	}
	if err != nil {
		return nil, err
	}
	if err := process(s.Process); err != nil {
		return nil, err
	}
	if err := create.send(&message{Ready: true}); err != nil {
		return nil, err
	}
	_, _, err = create.receive()
	return g, err
}

// hooked reports whether there are hooks that create runs.
func hooked(h *specs.Hooks) bool {
	//lint:ignore SA1019 engines still use what the specification calls deprecated
	return h != nil && len(h.Prestart)+len(h.CreateRuntime) > 0
}

// enter joins what namespaces are left to join, and names the host.
func enter(s *specs.Spec) error {
	for _, n := range s.Linux.Namespaces {
		switch {
		case n.Type == specs.MountNamespace && n.Path != "":
			fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				err = errors.Join(unix.Unshare(unix.CLONE_FS), unix.Setns(fd, unix.CLONE_NEWNS), unix.Close(fd))
			}
			if err != nil {
				return fmt.Errorf("linux.namespaces: mount %s: %w", n.Path, err)
			}
		case n.Type == specs.CgroupNamespace && n.Path == "":
			// Only now is the process in the directory that becomes the
			// namespace's root.
			if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
				return fmt.Errorf("linux.namespaces: cgroup: %w", err)
			}
		}
	}
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("hostname: %w", err)
		}
	}
	if s.Domainname != "" {
		if err := unix.Setdomainname([]byte(s.Domainname)); err != nil {
			return fmt.Errorf("domainname: %w", err)
		}
	}
	return nil
}

// stdio makes the terminal, if the configuration asks for one, and gives the
// standard descriptors to the container's user.
func stdio(b *bootstrap, r *root.Root) error {
	p := b.Spec.Process
	if p.Terminal {
		master, slave, err := r.Terminal(p.ConsoleSize)
		if err != nil {
			return err
		}
		defer master.Close()
		defer slave.Close()
		if b.Console != none {
			err := unix.Sendmsg(b.Console, []byte(slave.Name()), unix.UnixRights(int(master.Fd())), nil, 0)
			if err != nil {
				return fmt.Errorf("console socket: %w", err)
			}
			unix.Close(b.Console)
		}
		for fd := range 3 {
			if err := unix.Dup3(int(slave.Fd()), fd, 0); err != nil {
				return err
			}
		}
		if err := unix.IoctlSetInt(0, unix.TIOCSCTTY, 0); err != nil {
			return fmt.Errorf("process.terminal: %w", err)
		}
	}
	var null unix.Stat_t
	unix.Stat("/dev/null", &null)
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Rdev != null.Rdev || st.Mode&unix.S_IFMT == unix.S_IFIFO {
			// So that it can be opened again. What refuses needs not to be.
			unix.Fchown(fd, int(p.User.UID), int(st.Gid))
		}
	}
	return nil
}

func init() {
	if len(os.Args) > 1 && os.Args[1] == InitCommand {
		runtime.LockOSThread() // of the main goroutine, to the process's first thread
	}
}

// hasID reports whether a user or group is one of the namespace's.
func hasID(maps []specs.LinuxIDMapping, id uint32) bool {
	return len(maps) == 0 || slices.ContainsFunc(maps, func(m specs.LinuxIDMapping) bool {
		return id >= m.ContainerID && id-m.ContainerID < m.Size
	})
}

// cloneFlags are the namespaces that init is started in, and paths of those that it
// joins before.
func cloneFlags(s *specs.Spec) (flags uintptr, join []specs.LinuxNamespace) {
	for _, n := range s.Linux.Namespaces {
		switch {
		case n.Path != "" && n.Type != specs.MountNamespace:
			join = append(join, n)
		case n.Path == "" && n.Type != specs.CgroupNamespace:
			flags |= bundle.Namespaces[n.Type]
		}
	}
	return flags, join
}

// attributes of init's process.
func attributes(s *specs.Spec) *syscall.SysProcAttr {
	flags, _ := cloneFlags(s)
	a := &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	if flags&unix.CLONE_NEWUSER == 0 {
		return a
	}
	ids := func(maps []specs.LinuxIDMapping) (all []syscall.SysProcIDMap) {
		for _, m := range maps {
			all = append(all, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
		}
		return all
	}
	a.UidMappings, a.GidMappings = ids(s.Linux.UIDMappings), ids(s.Linux.GIDMappings)
	a.GidMappingsEnableSetgroups = os.Geteuid() == 0 // the kernel lets nobody else
	if hasID(s.Linux.UIDMappings, 0) && hasID(s.Linux.GIDMappings, 0) {
		a.Credential = &syscall.Credential{}
	}
	return a
}

// namespacePath is the path of a process's namespace.
func namespacePath(pid int, kind string) string { return "/proc/" + strconv.Itoa(pid) + "/ns/" + kind }
