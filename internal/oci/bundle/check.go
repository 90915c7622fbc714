package bundle

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/image"
)

// Check refuses what is not a container's configuration, and what the runtime
// does not honour, by name.
func Check(s *specs.Spec) error {
	switch {
	case !strings.HasPrefix(s.Version, "1."):
		return fmt.Errorf("ociVersion %q: want 1.x", cut(s.Version))
	case s.Root == nil || s.Root.Path == "":
		return errors.New("root.path is missing")
	case s.Process == nil:
		return errors.New("process is missing: a unikernel container has one")
	case s.Linux == nil:
		return errors.New("linux is missing: the runtime is for Linux")
	case s.Solaris != nil || s.Windows != nil || s.VM != nil || s.ZOS != nil || s.FreeBSD != nil:
		return errors.New("solaris, windows, vm, zos and freebsd are for other platforms")
	case strings.ContainsRune(s.Root.Path, 0):
		return errors.New("root.path has a zero byte")
	}
	for _, check := range []func(*specs.Spec) error{checkProcess, checkNames, checkMounts, checkNamespaces, checkLinux, checkHooks} {
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// leastLimit are the limits, in bytes, under which execve can kill a process without
// a word.
var leastLimit = map[string]uint64{"RLIMIT_AS": 1 << 20, "RLIMIT_DATA": 1 << 20, "RLIMIT_STACK": 64 << 10}

func checkProcess(s *specs.Spec) error {
	p := s.Process
	switch {
	case len(p.Args) == 0 || p.Args[0] == "":
		return errors.New("process.args is empty: its first is the unikernel's path")
	case p.CommandLine != "":
		return errors.New("process.commandLine is for another platform")
	case !filepath.IsAbs(p.Cwd):
		return errors.New("process.cwd is not an absolute path")
	case p.User.Username != "":
		return errors.New("process.user.username is for another platform")
	case p.ConsoleSize != nil && (p.ConsoleSize.Height > 0xffff || p.ConsoleSize.Width > 0xffff):
		return errors.New("process.consoleSize is out of range")
	case p.OOMScoreAdj != nil && (*p.OOMScoreAdj < -1000 || *p.OOMScoreAdj > 1000):
		return errors.New("process.oomScoreAdj is out of range: -1000 to 1000")
	}
	for _, a := range p.Args {
		if strings.ContainsRune(a, 0) {
			return errors.New("process.args has a zero byte")
		}
	}
	seen := map[string]bool{}
	for _, r := range p.Rlimits {
		if _, ok := Rlimits[r.Type]; !ok {
			return fmt.Errorf("process.rlimits: %q is no limit of Linux", cut(r.Type))
		}
		if seen[r.Type] {
			return fmt.Errorf("process.rlimits: %s comes twice", r.Type)
		}
		if least := leastLimit[r.Type]; r.Soft < least {
			return fmt.Errorf("process.rlimits: %s %d: the kernel cannot start a program under it: want %d at least", r.Type, r.Soft, least)
		}
		if seen[r.Type] = true; r.Soft > r.Hard {
			return fmt.Errorf("process.rlimits: %s: the soft limit is above the hard one", r.Type)
		}
	}
	return checkCapabilities(p.Capabilities)
}

func checkCapabilities(c *specs.LinuxCapabilities) error {
	if c == nil {
		return nil
	}
	for _, set := range [][]string{c.Bounding, c.Effective, c.Inheritable, c.Permitted, c.Ambient} {
		for _, name := range set {
			if !strings.HasPrefix(name, "CAP_") {
				return fmt.Errorf("process.capabilities: %q is no capability", cut(name))
			}
		}
	}
	return nil
}

func checkNames(s *specs.Spec) error {
	for _, n := range []struct {
		field, name string
	}{{"hostname", s.Hostname}, {"domainname", s.Domainname}} {
		if n.name == "" {
			continue
		}
		if len(n.name) > 64 || strings.ContainsRune(n.name, 0) {
			return fmt.Errorf("%s is longer than 64 bytes, or has a zero byte", n.field)
		}
		if !Has(s, specs.UTSNamespace) {
			return fmt.Errorf("%s: unable to set hostname without a private UTS namespace", n.field)
		}
	}
	return nil
}

func checkMounts(s *specs.Spec) error {
	for i := range s.Mounts {
		m := &s.Mounts[i]
		where := fmt.Sprintf("mounts: %q", cut(m.Destination))
		if strings.ContainsRune(m.Destination+m.Source+m.Type+strings.Join(m.Options, ""), 0) {
			return fmt.Errorf("%s: a zero byte", where)
		}
		if m.Destination == "" || path.Clean("/"+m.Destination) == "/" {
			return fmt.Errorf("%s: want a path below the root", where)
		}
		m.Destination = path.Clean("/" + m.Destination)
		if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
			return fmt.Errorf("%s: uidMappings and gidMappings are not supported", where)
		}
		if name, ok := BlockName(m.Destination); ok {
			if !image.ValidName(name) {
				return fmt.Errorf("%s: want a block device's name, up to %d letters and digits", where, image.MaxName)
			}
			if !IsBind(m) {
				return fmt.Errorf("%s: a block device is a bind mount of a file or a device, not of type %q", where, cut(m.Type))
			}
			continue
		}
		if _, err := MountFlags(m.Options); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if h := s.Hooks; slices.Contains(m.Options, "tmpcopyup") && h != nil && len(h.CreateContainer)+len(h.StartContainer) > 0 {
			return fmt.Errorf("%s: tmpcopyup is not supported with hooks that run in the container: nothing is copied", where)
		}
	}
	return nil
}

// blockDir is where a container has the block devices of its guest.
const blockDir = "/dev/solo5/"

// BlockName returns the name of the guest's block device that a path in the
// container stands for.
func BlockName(path string) (string, bool) {
	name, ok := strings.CutPrefix(path, blockDir)
	return name, ok && name != ""
}

// Has reports whether the container has a namespace of its own, or joins one.
func Has(s *specs.Spec, kind specs.LinuxNamespaceType) bool {
	return slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == kind })
}

func checkNamespaces(s *specs.Spec) error {
	seen := map[specs.LinuxNamespaceType]bool{}
	for _, n := range s.Linux.Namespaces {
		if _, ok := Namespaces[n.Type]; !ok {
			return fmt.Errorf("linux.namespaces: %q is not supported", cut(string(n.Type)))
		}
		if seen[n.Type] {
			return fmt.Errorf("linux.namespaces: %s comes twice", n.Type)
		}
		seen[n.Type] = true
		if n.Path != "" && !filepath.IsAbs(n.Path) {
			return fmt.Errorf("linux.namespaces: %s: the path is not absolute", n.Type)
		}
		if n.Path != "" && n.Type == specs.UserNamespace {
			return errors.New("linux.namespaces: a user namespace that is there already cannot be joined")
		}
	}
	if !seen[specs.MountNamespace] {
		return errors.New("linux.namespaces: the container has no mount namespace, so its root would be the host's")
	}
	if maps := len(s.Linux.UIDMappings) + len(s.Linux.GIDMappings); seen[specs.UserNamespace] != (maps > 0) {
		return errors.New("linux.uidMappings and gidMappings go with a user namespace, and only with one")
	}
	return nil
}

func checkLinux(s *specs.Spec) error {
	l := s.Linux
	switch {
	case l.IntelRdt != nil:
		return errors.New("linux.intelRdt is not supported")
	case l.MemoryPolicy != nil:
		return errors.New("linux.memoryPolicy is not supported")
	case len(l.TimeOffsets) > 0:
		return errors.New("linux.timeOffsets is not supported: guests read the host's clocks")
	case len(l.NetDevices) > 0:
		return errors.New("linux.netDevices is not supported: an engine moves interfaces to the container's namespace")
	case l.Seccomp != nil && l.Seccomp.ListenerPath != "":
		return errors.New("linux.seccomp.listenerPath is not supported: the guest's own filter asks nobody")
	case l.Personality != nil && (l.Personality.Domain != specs.PerLinux || len(l.Personality.Flags) > 0):
		return errors.New("linux.personality: want LINUX without flags")
	case l.RootfsPropagation != "" && propagations[l.RootfsPropagation] == 0:
		return fmt.Errorf("linux.rootfsPropagation %q is not supported", cut(l.RootfsPropagation))
	}
	for _, p := range slices.Concat(l.MaskedPaths, l.ReadonlyPaths) {
		if !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			return fmt.Errorf("linux.maskedPaths and readonlyPaths: %q is not an absolute path", cut(p))
		}
	}
	for _, d := range l.Devices {
		if !filepath.IsAbs(d.Path) || strings.ContainsRune(d.Path, 0) {
			return fmt.Errorf("linux.devices: %q is not an absolute path", cut(d.Path))
		}
		if !slices.Contains([]string{"b", "c", "u", "p"}, d.Type) || d.Major < 0 || d.Minor < 0 || d.Major >= 1<<32 || d.Minor >= 1<<32 {
			return fmt.Errorf("linux.devices: %s: want type b, c, u or p, and numbers", cut(d.Path))
		}
		if name, ok := BlockName(path.Clean(d.Path)); ok && (d.Type != "b" || !image.ValidName(name)) {
			return fmt.Errorf("linux.devices: %s: want a block device with a name of up to %d letters and digits", cut(d.Path), image.MaxName)
		}
	}
	if err := CheckResources(l.Resources); err != nil {
		return err
	}
	return checkSysctl(s)
}

// CheckResources refuses limits of memory that kernels no longer have: they count this memory with
// the rest.
func CheckResources(r *specs.LinuxResources) error {
	if r == nil || r.Memory == nil {
		return nil
	}
	m := r.Memory
	limits := func(n *int64) bool { return n != nil && *n > 0 }
	switch {
	//lint:ignore SA1019 engines may still use what the specification calls deprecated
	case limits(m.Kernel):
		return errors.New("linux.resources.memory.kernel is not supported: memory.limit counts the kernel's memory too")
	case limits(m.KernelTCP):
		return errors.New("linux.resources.memory.kernelTCP is not supported: memory.limit counts the kernel's memory too")
	case m.UseHierarchy != nil && !*m.UseHierarchy:
		return errors.New("linux.resources.memory.useHierarchy: false is not supported: groups within a group count for it")
	}
	return nil
}

// checkSysctl refuses settings that are the host's.
func checkSysctl(s *specs.Spec) error {
	for name := range s.Linux.Sysctl {
		key := strings.ReplaceAll(name, "/", ".")
		var ok bool
		switch {
		case strings.Contains(key, "..") || strings.ContainsRune(key, 0):
		case strings.HasPrefix(key, "net."):
			ok = Has(s, specs.NetworkNamespace)
		case strings.HasPrefix(key, "fs.mqueue."), slices.Contains(ipcSysctls, key):
			ok = Has(s, specs.IPCNamespace)
		case key == "kernel.domainname", key == "kernel.hostname":
			ok = Has(s, specs.UTSNamespace) && (key == "kernel.domainname" || s.Hostname == "")
		}
		if !ok {
			return fmt.Errorf("linux.sysctl: %q is not in a separate kernel namespace", cut(name))
		}
	}
	return nil
}

var ipcSysctls = []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"}

func checkHooks(s *specs.Spec) error {
	if s.Hooks == nil {
		return nil
	}
	h := s.Hooks
	//lint:ignore SA1019 engines still use what the specification calls deprecated
	for _, hook := range slices.Concat(h.Prestart, h.CreateRuntime, h.CreateContainer, h.StartContainer, h.Poststart, h.Poststop) {
		if !filepath.IsAbs(hook.Path) {
			return fmt.Errorf("hooks: %q is not an absolute path", cut(hook.Path))
		}
		if hook.Timeout != nil && *hook.Timeout <= 0 {
			return fmt.Errorf("hooks: %s: the timeout is not positive", cut(hook.Path))
		}
	}
	return nil
}

// cut makes hostile text fit for a short line; who prints it quotes it.
func cut(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}
