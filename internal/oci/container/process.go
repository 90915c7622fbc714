package container

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/bundle"
)

// checkHost refuses what the host does not have for the process.
func checkHost(s *specs.Spec) error {
	p := s.Process
	if name := p.ApparmorProfile; name != "" && !enabled("apparmor") {
		return fmt.Errorf("process.apparmorProfile %.60q: the host has no AppArmor", name)
	} else if loaded, err := os.ReadFile("/sys/kernel/security/apparmor/profiles"); err == nil && name != "" && name != "unconfined" {
		if !strings.Contains("\n"+string(loaded), "\n"+name+" (") {
			return fmt.Errorf("process.apparmorProfile %.60q: the host has no such profile", name)
		}
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err != nil && p.SelinuxLabel != "" {
		return fmt.Errorf("process.selinuxLabel %.60q: the host has no SELinux", p.SelinuxLabel)
	}
	if !hasID(s.Linux.UIDMappings, p.User.UID) || !hasID(s.Linux.GIDMappings, p.User.GID) {
		return fmt.Errorf("process.user: %d:%d is not in the user namespace's mappings", p.User.UID, p.User.GID)
	}
	return checkShared(s)
}

// sameFile reports whether two paths lead to one file, such as a namespace.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// checkShared refuses settings of namespaces that are joined by path and are the
// runtime's own: they would be the host's settings.
func checkShared(s *specs.Spec) error {
	for _, n := range s.Linux.Namespaces {
		file := map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.IPCNamespace: "ipc", specs.UTSNamespace: "uts"}[n.Type]
		if n.Path == "" || file == "" || !sameFile(n.Path, "/proc/thread-self/ns/"+file) {
			continue
		}
		if n.Type == specs.UTSNamespace && s.Hostname+s.Domainname != "" {
			return errors.New("hostname: the uts namespace is the host's")
		}
		for name := range s.Linux.Sysctl {
			ofNet := strings.HasPrefix(name, "net.") || strings.HasPrefix(name, "net/")
			if ofNet == (n.Type == specs.NetworkNamespace) && n.Type != specs.UTSNamespace {
				return fmt.Errorf("linux.sysctl: %.60q: the %s namespace is the host's", name, n.Type)
			}
		}
	}
	return nil
}

// process sets what the configuration says of the process, in the container's root.
// What takes privileges away is for credentials.
func process(p *specs.Process) error {
	if err := unix.Chdir(p.Cwd); errors.Is(err, unix.ENOENT) {
		// Engines expect it to be made. A guest has no use for it.
		if err := os.MkdirAll(p.Cwd, 0o755); err != nil && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("process.cwd: %w", err)
		} else if err := unix.Chdir(p.Cwd); err != nil {
			return fmt.Errorf("process.cwd: chdir to %.200q: %w", p.Cwd, err)
		}
	} else if err != nil {
		return fmt.Errorf("process.cwd: chdir to %.200q: %w", p.Cwd, err)
	}
	if _, err := unix.Getwd(); err != nil { // by a descriptor of the host's, for example
		return fmt.Errorf("process.cwd %.200q is not in the container: %w", p.Cwd, err)
	}
	if m := p.User.Umask; m != nil {
		unix.Umask(int(*m))
	}
	if err := limit(p, false); err != nil {
		return err
	}
	if err := schedule(p.Scheduler); err != nil {
		return fmt.Errorf("process.scheduler: %w", err)
	}
	if i := p.IOPriority; i != nil {
		class, ok := map[specs.IOPriorityClass]int{specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3}[i.Class]
		if !ok || i.Priority < 0 || i.Priority > 7 {
			return errors.New("process.ioPriority: want a class of Linux, and a priority from 0 to 7")
		}
		const whoProcess, classShift = 1, 13 // linux/ioprio.h
		if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, 0, uintptr(class<<classShift|i.Priority)); errno != 0 {
			return fmt.Errorf("process.ioPriority: %w", errno)
		}
	}
	return nil
}

// lateLimits are those that the runtime itself, a Go program, cannot work under, if they
// are below these values. They are the last to be set.
var lateLimits = map[int]uint64{unix.RLIMIT_AS: 1 << 30, unix.RLIMIT_DATA: 1 << 30, unix.RLIMIT_NOFILE: 64}

// limit sets the process's limits, the late ones or the others.
func limit(p *specs.Process, late bool) error {
	for _, r := range p.Rlimits {
		kind := bundle.Rlimits[r.Type]
		if (r.Soft < lateLimits[kind]) != late {
			continue
		}
		if err := unix.Setrlimit(kind, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}); err != nil {
			return fmt.Errorf("process.rlimits: %s: %w", r.Type, err)
		}
	}
	return nil
}

// schedule sets the process's place among others that want the processor.
func schedule(s *specs.Scheduler) error {
	if s == nil {
		return nil
	}
	policy, ok := map[specs.LinuxSchedulerPolicy]uint32{
		specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
		specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE, specs.SchedDeadline: unix.SCHED_DEADLINE,
	}[s.Policy]
	if !ok {
		return fmt.Errorf("policy %.40q is not known", s.Policy)
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Nice: s.Nice, Priority: uint32(s.Priority),
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period}
	for _, f := range s.Flags {
		bit, ok := map[specs.LinuxSchedulerFlag]uint64{
			specs.SchedFlagResetOnFork: unix.SCHED_FLAG_RESET_ON_FORK, specs.SchedFlagReclaim: unix.SCHED_FLAG_RECLAIM,
			specs.SchedFlagDLOverrun: unix.SCHED_FLAG_DL_OVERRUN, specs.SchedFlagKeepPolicy: unix.SCHED_FLAG_KEEP_POLICY,
			specs.SchedFlagKeepParams: unix.SCHED_FLAG_KEEP_PARAMS, specs.SchedFlagUtilClampMin: unix.SCHED_FLAG_UTIL_CLAMP_MIN,
			specs.SchedFlagUtilClampMax: unix.SCHED_FLAG_UTIL_CLAMP_MAX,
		}[f]
		if !ok {
			return fmt.Errorf("flag %.40q is not known", f)
		}
		attr.Flags |= bit
	}
	return unix.SchedSetAttr(0, &attr, 0)
}

// credentials gives the calling thread, which will become the guest, the
// container's user and the capabilities it may have. Guests give up what is left.
func credentials(s *specs.Spec) error {
	p := s.Process
	if err := label(p); err != nil {
		return err
	}
	if p.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("process.noNewPrivileges: %w", err)
		}
	}
	c := p.Capabilities
	if c == nil {
		c = &specs.LinuxCapabilities{}
	}
	bounding := capabilities(c.Bounding)
	for n := range unix.CAP_LAST_CAP + 1 {
		if bounding>>n&1 == 0 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0); err != nil && err != unix.EINVAL {
				return fmt.Errorf("process.capabilities: bounding: %w", err)
			}
		}
	}
	if err := unix.Prctl(unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := become(p.User); err != nil {
		return fmt.Errorf("process.user: %w", err)
	}
	permitted := capabilities(c.Permitted)
	effective, inheritable := capabilities(c.Effective)&permitted, capabilities(c.Inheritable)
	var data [2]unix.CapUserData
	for i := range data {
		data[i] = unix.CapUserData{Effective: uint32(effective >> (32 * i)), Permitted: uint32(permitted >> (32 * i)), Inheritable: uint32(inheritable >> (32 * i))}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("process.capabilities: %w", err)
	}
	ambient := capabilities(c.Ambient) & permitted & inheritable
	for n := range unix.CAP_LAST_CAP + 1 {
		if ambient>>n&1 != 0 {
			if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
				return fmt.Errorf("process.capabilities: ambient: %w", err)
			}
		}
	}
	return nil
}

// become changes the user of the calling thread alone.
func become(u specs.User) error {
	groups := slices.Clone(u.AdditionalGids)
	var at *uint32
	if len(groups) > 0 {
		at = &groups[0]
	}
	if err := setgroups(len(groups), at); err != nil && !(err == unix.EPERM && len(groups) == 0) {
		return fmt.Errorf("setgroups: %w", err)
	}
	gid, uid := uintptr(u.GID), uintptr(u.UID)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return fmt.Errorf("gid %d: %w", u.GID, errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return fmt.Errorf("uid %d: %w", u.UID, errno)
	}
	return nil
}

// label sets the labels that the process gets when it becomes the guest.
func label(p *specs.Process) error {
	if name := p.ApparmorProfile; name != "" {
		err := write("/proc/thread-self/attr/apparmor/exec", "exec "+name)
		if errors.Is(err, unix.ENOENT) {
			err = write("/proc/thread-self/attr/exec", "exec "+name)
		}
		if err != nil {
			return fmt.Errorf("process.apparmorProfile %.60q: %w", name, err)
		}
	}
	if name := p.SelinuxLabel; name != "" {
		if err := write("/proc/thread-self/attr/exec", name); err != nil {
			return fmt.Errorf("process.selinuxLabel %.60q: %w", name, err)
		}
	}
	return nil
}

func enabled(module string) bool {
	b, _ := os.ReadFile("/sys/module/" + module + "/parameters/enabled")
	return strings.HasPrefix(string(b), "Y")
}

func write(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	var st unix.Statfs_t
	if err = unix.Fstatfs(int(f.Fd()), &st); err == nil && st.Type != unix.PROC_SUPER_MAGIC {
		err = errors.New("the container's /proc is not the kernel's")
	}
	if err == nil {
		_, err = f.WriteString(text)
	}
	return errors.Join(err, f.Close())
}
