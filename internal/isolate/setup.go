package isolate

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/plan"
	"gocat/internal/raw"
)

// Setup plans the layers. The process has one thread while it carries out its
// plan, so it can enter a user namespace, which a Go program cannot.
type Setup struct {
	*plan.Plan
	Config  *Config
	Scratch [2]int // numbers of the next descriptors
	Written []int  // descriptors that are written to
	Largest uint64 // bytes of the largest file that is written besides
	guarded bool   // no filter was inherited
	steps   []int  // records of the layer being planned
	verify  bool   // it is read back
	unasked Set    // layers that nobody asked for
}

// Begin plans the steps that need capabilities and /proc. At this point all
// devices are open and nothing is unmapped.
func (i *Setup) Begin() {
	i.layer(Cgroup, i.group)
	i.layer(User, i.user)
	layers := func() {
		for l := UserNS; l <= CgroupNS; l++ {
			i.layer(l, func() { i.namespace(l) })
		}
		i.layer(Root, i.root)
	}
	if i.Config.Report || i.Config.Mode == Full || i.Config.Require != 0 {
		layers()
		return
	}
	i.guarded = true
	i.unfiltered(layers)
	i.guarded = false
}

// unfiltered plans then for a process without an inherited seccomp filter.
func (i *Setup) unfiltered(then func()) {
	i.When(plan.Exact, 0, then, unix.SYS_PRCTL, unix.PR_GET_SECCOMP)
}

// End plans the rest, in an order in which each step still permits the next. At
// this point the memory is laid out and no_new_privs is set.
func (i *Setup) End() {
	i.layer(NoNewPrivs, func() {})
	i.layer(Landlock, i.landlock)
	i.Try(unix.SYS_CLOSE, i.Scratch[0]) // that a failure left
	for n, l := range []Layer{StoreBypass, IndirectBranch} {
		i.layer(l, func() { i.speculation(n) })
	}
	i.layer(Limits, i.limits)
	if i.Config.CPUTime != 0 {
		i.Must("could not limit the processor time", 0, unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CPU, plan.Words(i.Config.CPUTime, i.Config.CPUTime+1), 0)
	}
	i.layer(BoundingSet, func() {
		for n := range 64 {
			if n == 0 {
				i.step(plan.Exact, 0, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n)
			} else { // fails where the kernel has fewer
				i.Try(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n)
			}
		}
		i.check(plan.Exact, plan.Errno(unix.EINVAL), unix.SYS_PRCTL, unix.PR_CAPBSET_READ, 64) // no such capability
		for n := range 64 {
			i.check(1, 0, unix.SYS_PRCTL, unix.PR_CAPBSET_READ, n) // EINVAL is even
		}
	})
	i.layer(Securebits, func() {
		i.step(plan.Exact, 0, unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, SecurebitsLocked)
		i.check(plan.Exact, SecurebitsLocked, unix.SYS_PRCTL, unix.PR_GET_SECUREBITS)
	})
	i.layer(Capabilities, func() {
		i.step(plan.Exact, 0, unix.SYS_CAPSET, capHeader(), make([]byte, 24))
		i.checkWords([]uint64{0, 0, 0}, unix.SYS_CAPGET, capHeader(), result)
	})
	i.layer(Undumpable, func() {
		i.step(plan.Exact, 0, unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
		i.check(plan.Exact, plan.Errno(unix.EINVAL), unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 3) // no such value
		i.check(plan.Exact, 0, unix.SYS_PRCTL, unix.PR_GET_DUMPABLE)
	})
	i.layer(Descriptors, func() {})
	i.layer(Seccomp, func() {}) // next
	if i.Config.Report && i.unasked != 0 {
		line := "gocat: confinement: " + i.Config.Unasked(i.unasked) + "\n"
		i.Try(unix.SYS_WRITE, 2, []byte(line), len(line))
	}
}

// layer plans l if it is wanted. Steps adds its calls with step; the first that
// does not have the result wanted ends the layer, and the run if l must hold.
func (i *Setup) layer(l Layer, steps func()) {
	if !i.Config.Wanted().Has(l) {
		i.unasked |= Of(l)
		return
	}
	must := i.Config.Must(l)
	if must || i.guarded || !Risky.Has(l) {
		i.attempt(l, must, steps)
		return
	}
	i.unfiltered(func() { i.attempt(l, must, steps) })
	if i.Config.Report {
		i.When(plan.Exact, unix.SECCOMP_MODE_FILTER, func() { i.say(l, "off: "+Untried) }, unix.SYS_PRCTL, unix.PR_GET_SECCOMP)
	}
}

// attempt plans the calls of layer l, and what to do when one fails.
func (i *Setup) attempt(l Layer, must bool, steps func()) {
	if i.steps == nil {
		i.steps = raw.Slice[int](0, 16)
	}
	i.steps, i.verify = i.steps[:0], must || i.Config.Report
	steps()
	first := i.Here() // of what to do about a failure
	var done []int    // jumps to the end
	jump := func() { done = append(done, i.Jump()) }
	if i.Config.Report {
		i.say(l, i.Config.Host.On(l))
	}
	if len(i.steps) > 0 && (must || i.Config.Report) {
		jump()
		first = i.Here()
		for _, e := range Errors() {
			i.When(plan.Exact, plan.Errno(e), func() {
				reason := i.Config.Host.Reason(l, e)
				if must {
					i.Must(i.Config.Refusal(l)+reason, 0, unix.SYS_GETPID)
				}
				i.say(l, "off: "+reason)
				jump()
			}, plan.Last)
		}
		if must {
			i.Must(i.Config.Refusal(l)+Answered, plan.Exact, plan.Last) // that is EPERM, which had its turn
		}
		i.say(l, "off: "+Answered)
	}
	for _, n := range i.steps {
		i.Land(n, first)
	}
	for _, n := range done {
		i.Land(n, i.Here())
	}
}

// step adds a call of the current layer.
func (i *Setup) step(mask, want uint64, nr uint64, args ...any) {
	i.steps = raw.Append(i.steps, i.Call(mask, want, nr, args...))
}

// say plans a line on standard error about l.
func (i *Setup) say(l Layer, state string) {
	line := "gocat: confinement: " + l.String() + ": " + state + "\n"
	i.Try(unix.SYS_WRITE, 2, []byte(line), len(line))
}

// group enters a control group, as Enter does. That the process is in the group
// afterwards is taken from the kernel's answer alone: the list of processes is
// nothing that a plan could search.
func (i *Setup) group() {
	g := &i.Config.Group
	refuse := func(why string) string { return i.Config.Refusal(Cgroup) + why }
	dir, fd := i.Scratch[0], i.Scratch[1]
	ofGroups := func(n int) {
		fs := i.Store(make([]byte, statfsSize))
		i.Must(refuse(notGroup), 0, unix.SYS_FSTATFS, n, fs)
		i.Must(refuse(notGroup), 0, plan.Differ, fs, plan.Words(unix.CGROUP2_SUPER_MAGIC), plan.Exact)
	}
	i.step(plan.Exact, uint64(dir), unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString(g.Dir), groupDirFlags, 0)
	ofGroups(dir)
	for _, s := range g.Settings() {
		line := []byte(s[1])
		i.step(plan.Exact, uint64(fd), unix.SYS_OPENAT, dir, raw.CString(s[0]), groupFileFlags, 0)
		ofGroups(fd)
		i.step(plan.Exact, uint64(len(line)), unix.SYS_WRITE, fd, line, len(line))
		if s[0] != procs {
			got := i.Store(make([]byte, 64))
			i.Must(refuse(notAsSet), uint64(len(line)), unix.SYS_PREAD64, fd, got, 64, 0)
			i.sameBytes(refuse(notAsSet), got, line)
		}
		i.Try(unix.SYS_CLOSE, fd)
	}
	i.Try(unix.SYS_CLOSE, dir)
}

// sameBytes ends the run with message unless data at got begins with want.
func (i *Setup) sameBytes(message string, got plan.Ref, want []byte) {
	for n := 0; n < len(want); n += 8 {
		var word, mask [8]byte
		for k := range copy(word[:], want[n:]) {
			mask[k] = 0xff
		}
		i.Must(message, 0, plan.Differ, got+plan.Ref(n), slices.Clone(word[:]), binary.LittleEndian.Uint64(mask[:]))
	}
}

// user becomes another user, and keeps the capabilities that the layers take.
func (i *Setup) user() {
	i.step(plan.Exact, 0, unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	i.step(plan.Exact, 0, unix.SYS_SETGROUPS, 0, 0)
	id := func(n uint32) uint64 { return uint64(n) }
	i.step(plan.Exact, 0, unix.SYS_SETRESGID, id(i.Config.GID), id(i.Config.GID), id(i.Config.GID))
	i.step(plan.Exact, 0, unix.SYS_SETRESUID, id(i.Config.UID), id(i.Config.UID), id(i.Config.UID))
	i.checkIDs(unix.SYS_GETRESUID, i.Config.UID)
	i.checkIDs(unix.SYS_GETRESGID, i.Config.GID)
	i.check(plan.Exact, plan.Errno(unix.EINVAL), unix.SYS_GETGROUPS, plan.Exact, 0) // no such size
	i.check(plan.Exact, 0, unix.SYS_GETGROUPS, 0, 0)
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SETPCAP
	data := make([]byte, 24) // effective, permitted, inheritable; and those of the numbers from 32 up
	binary.LittleEndian.PutUint32(data, needed)
	binary.LittleEndian.PutUint32(data[4:], needed)
	i.Try(unix.SYS_CAPSET, capHeader(), data)
}

// root makes an empty directory the root: of a file system of its own, for which
// it takes a mount namespace, or else the one in /proc that describes the
// process's descriptors and nothing else.
func (i *Setup) root() {
	if !i.Config.Wanted().Has(MountNS) {
		i.step(plan.Exact, 0, unix.SYS_CHDIR, raw.CString(EmptyDir))
		i.checkDirectory("/proc/")
		i.step(plan.Exact, 0, unix.SYS_CHROOT, raw.CString("."))
		i.checkDirectory("/\x00")
		return
	}
	fs, mount := i.Scratch[0], i.Scratch[1]
	i.step(plan.Exact, uint64(fs), unix.SYS_FSOPEN, raw.CString("tmpfs"), 0)
	i.step(plan.Exact, 0, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	i.step(plan.Exact, uint64(mount), unix.SYS_FSMOUNT, fs, 0, RootMount)
	i.step(plan.Exact, 0, unix.SYS_FCHDIR, mount)
	i.checkDirectory("(unreach")
	i.step(plan.Exact, 0, unix.SYS_CHROOT, raw.CString("."))
	i.checkDirectory("/\x00")
	i.Try(unix.SYS_CLOSE, mount)
	i.Try(unix.SYS_CLOSE, fs)
}

// landlock forbids what the kernel's version of it can.
func (i *Setup) landlock() {
	i.step(plan.Failed, 0, unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	i.ruleset([]int{LandlockVersion, 6, 5, 4, 3, 2, 1}) // those that add rules
	i.step(plan.Exact, 0, unix.SYS_LANDLOCK_RESTRICT_SELF, i.Scratch[0], 0)
	i.Try(unix.SYS_CLOSE, i.Scratch[0])
	i.check(plan.Exact, plan.Errno(unix.EACCES), unix.SYS_OPENAT, unix.AT_FDCWD, raw.CString("/"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// ruleset plans a ruleset of the first of the versions that the kernel knows.
func (i *Setup) ruleset(versions []int) {
	rules := LandlockRules(versions[0], true)
	if len(versions) == 1 {
		i.step(plan.Exact, uint64(i.Scratch[0]), unix.SYS_LANDLOCK_CREATE_RULESET, rules, len(rules), 0)
		return
	}
	i.Unless(plan.Exact, uint64(i.Scratch[0]), func() { i.ruleset(versions[1:]) },
		unix.SYS_LANDLOCK_CREATE_RULESET, rules, len(rules), 0)
}

// speculation turns off control n of prctl(PR_SET_SPECULATION_CTRL) for good.
func (i *Setup) speculation(n int) {
	i.check(plan.Exact, plan.Errno(unix.ENODEV), unix.SYS_PRCTL, unix.PR_GET_SPECULATION_CTRL, 99, 0, 0, 0) // no such control
	i.Unless(plan.Exact, unix.PR_SPEC_NOT_AFFECTED, func() {
		i.step(plan.Exact, 0, unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, n, unix.PR_SPEC_FORCE_DISABLE, 0, 0)
		i.check(unix.PR_SPEC_FORCE_DISABLE, unix.PR_SPEC_FORCE_DISABLE, unix.SYS_PRCTL, unix.PR_GET_SPECULATION_CTRL, n, 0, 0, 0)
	}, unix.SYS_PRCTL, unix.PR_GET_SPECULATION_CTRL, n, 0, 0, 0)
}

// limits sets the resource limits. What is mapped and open is not affected by
// them. Files may not grow beyond the largest that is written, unless others are
// written too.
func (i *Setup) limits() {
	for _, r := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NPROC, unix.RLIMIT_NOFILE, unix.RLIMIT_AS} {
		i.step(plan.Exact, 0, unix.SYS_PRLIMIT64, 0, r, plan.Words(0, 0), 0)
		i.checkWords([]uint64{0, 0}, unix.SYS_PRLIMIT64, 0, r, 0, result)
	}
	i.fileSize(i.Written, i.Largest)
}

// fileSize plans a limit of n bytes for files, if none of the descriptors is one.
func (i *Setup) fileSize(written []int, n uint64) {
	if len(written) == 0 {
		i.Try(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_FSIZE, plan.Words(n, n), 0)
		return
	}
	const size, mode = 144, 24 // of struct stat, and the offset of st_mode
	stat := i.Store(make([]byte, size))
	i.When(plan.Exact, 0, func() {
		i.When(plan.Exact, 1, func() { i.fileSize(written[1:], n) }, plan.Differ, stat+mode, plan.Words(unix.S_IFREG), unix.S_IFMT)
	}, unix.SYS_FSTAT, written[0], stat)
}

// capHeader is a struct __user_cap_header_struct for this process.
func capHeader() []byte { return plan.Words(unix.LINUX_CAPABILITY_VERSION_3) }
