package spt

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/isolate"
	"gocat/internal/raw"
)

// isolation plans the layers of package isolate. The process has one thread
// while it carries out its plan, so it can enter a user namespace, which a Go
// program cannot.
type isolation struct {
	*plan
	*isolate.Config
	devices []device.Device
	report  bool   // whether something is to be written when a fault is reported
	scratch [2]int // numbers of the next descriptors
	guarded bool   // no filter was inherited
	steps   []int  // records of the layer being planned
}

// newIsolation returns the planner. The devices are attached.
func newIsolation(s *sealed, d *descriptors) *isolation {
	if !slices.ContainsFunc(d.devices, func(dev device.Device) bool { return dev.FD == 0 }) {
		d.free(0) // attach closed it
	}
	scratch := [2]int{d.take(), d.take()}
	d.free(scratch[0])
	d.free(scratch[1])
	i := raw.New[isolation]()
	*i = isolation{plan: d.plan, Config: &s.Isolate, devices: d.devices, report: !s.QuietFaults, scratch: scratch, steps: raw.Slice[int](0, 16)}
	return i
}

// begin plans what can only be done while there are capabilities and /proc: all
// devices are open and nothing is unmapped.
func (i *isolation) begin() {
	i.layer(isolate.Cgroup, i.group)
	i.layer(isolate.User, i.user)
	layers := func() {
		for l := isolate.UserNS; l <= isolate.CgroupNS; l++ {
			i.layer(l, func() { i.step(exact, 0, unix.SYS_UNSHARE, isolate.CloneFlag(l)) })
		}
		i.layer(isolate.Root, i.root)
	}
	if i.Report || i.Mode == isolate.Full || i.Require != 0 {
		layers()
		return
	}
	i.guarded = true
	i.unfiltered(layers)
	i.guarded = false
}

// unfiltered plans then for a process without an inherited seccomp filter.
func (i *isolation) unfiltered(then func()) {
	i.when(exact, 0, then, unix.SYS_PRCTL, unix.PR_GET_SECCOMP)
}

// end plans the rest, in the order in which each permits the next. The memory
// is laid out, and no_new_privs is set.
func (i *isolation) end() {
	i.layer(isolate.NoNewPrivs, func() {})
	i.layer(isolate.Landlock, i.landlock)
	for n, l := range []isolate.Layer{isolate.StoreBypass, isolate.IndirectBranch} {
		i.layer(l, func() { i.speculation(n) })
	}
	i.layer(isolate.Limits, i.limits)
	if i.CPUTime != 0 {
		i.must("could not limit the processor time", 0, unix.SYS_PRLIMIT64, 0, unix.RLIMIT_CPU, words(i.CPUTime, i.CPUTime+1), 0)
	}
	i.layer(isolate.BoundingSet, func() {
		for n := range 64 {
			if n == 0 {
				i.step(exact, 0, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n)
			} else { // fails where the kernel has fewer
				i.try(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, n)
			}
		}
	})
	i.layer(isolate.Securebits, func() {
		i.step(exact, 0, unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, isolate.SecurebitsLocked)
	})
	i.layer(isolate.Capabilities, func() { i.step(exact, 0, unix.SYS_CAPSET, capHeader(), make([]byte, 24)) })
	i.layer(isolate.Undumpable, func() { i.step(exact, 0, unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0) })
	i.layer(isolate.Descriptors, func() {})
	i.layer(isolate.Seccomp, func() {}) // next
}

// layer plans l if it is wanted. Steps adds its calls with step; the first that
// does not have the result wanted ends the layer, and the run if l must hold.
func (i *isolation) layer(l isolate.Layer, steps func()) {
	if !i.Wanted().Has(l) {
		if i.Report {
			i.say(l, "off: "+i.Unwanted(l))
		}
		return
	}
	must := i.Must(l)
	if must || i.guarded || !isolate.Risky.Has(l) {
		i.attempt(l, must, steps)
		return
	}
	i.unfiltered(func() { i.attempt(l, must, steps) })
	if i.Report {
		i.when(exact, unix.SECCOMP_MODE_FILTER, func() { i.say(l, "off: "+isolate.Untried) }, unix.SYS_PRCTL, unix.PR_GET_SECCOMP)
	}
}

// attempt plans the calls of layer l, and what to do when one fails.
func (i *isolation) attempt(l isolate.Layer, must bool, steps func()) {
	i.steps = i.steps[:0]
	steps()
	first := len(i.records) // of what to do about a failure
	var done []int          // jumps to the end
	jump := func() {
		done = append(done, len(i.records))
		i.add(record{nr: unix.SYS_GETPID, mask: exact}, nil) // is not 0, so it skips
	}
	if i.Report {
		i.say(l, i.Host.On(l))
	}
	if len(i.steps) > 0 && (must || i.Report) {
		jump()
		first = len(i.records)
		for _, e := range isolate.Errors() {
			i.when(exact, errno(e), func() {
				reason := i.Host.Reason(l, e)
				if must {
					i.must(i.Refusal(l)+reason, 0, unix.SYS_GETPID)
				}
				i.say(l, "off: "+reason)
				jump()
			}, nrLast)
		}
		if must {
			i.must(i.Refusal(l)+"failed", exact, nrLast) // exact is EPERM, which had its turn
		}
		i.say(l, "off: failed")
	}
	for _, n := range i.steps {
		i.records[n].skip = uint32(first - n - 1)
	}
	for _, n := range done {
		i.records[n].skip = uint32(len(i.records) - n - 1)
	}
}

// step adds a call of the current layer.
func (i *isolation) step(mask, want uint64, nr uint64, args ...any) {
	i.steps = raw.Append(i.steps, len(i.records))
	i.add(record{nr: nr, mask: mask, want: want}, args)
}

// say plans a line on standard error about l.
func (i *isolation) say(l isolate.Layer, state string) {
	line := "gocat: confinement: " + l.String() + ": " + state + "\n"
	i.try(unix.SYS_WRITE, 2, []byte(line), len(line))
}

// group enters a control group.
func (i *isolation) group() {
	fd := i.scratch[0]
	for _, w := range i.Group.Writes() {
		line := []byte(w[1])
		i.step(exact, uint64(fd), unix.SYS_OPENAT, atFDCWD, raw.CString(w[0]), unix.O_WRONLY, 0)
		i.step(exact, uint64(len(line)), unix.SYS_WRITE, fd, line, len(line))
		i.try(unix.SYS_CLOSE, fd)
	}
}

// user becomes another user, and keeps the capabilities that the layers take.
func (i *isolation) user() {
	i.step(exact, 0, unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	i.step(exact, 0, unix.SYS_SETGROUPS, 0, 0)
	id := func(n uint32) uint64 { return uint64(n) }
	i.step(exact, 0, unix.SYS_SETRESGID, id(i.GID), id(i.GID), id(i.GID))
	i.step(exact, 0, unix.SYS_SETRESUID, id(i.UID), id(i.UID), id(i.UID))
	const needed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_SETPCAP
	data := make([]byte, 24) // effective, permitted, inheritable; and those of the numbers from 32 up
	binary.LittleEndian.PutUint32(data, needed)
	binary.LittleEndian.PutUint32(data[4:], needed)
	i.try(unix.SYS_CAPSET, capHeader(), data)
}

// root makes an empty directory the root: of a file system of its own, for which
// it takes a mount namespace, or else the one in /proc that describes the
// process's descriptors and nothing else.
func (i *isolation) root() {
	if !i.Wanted().Has(isolate.MountNS) {
		i.step(exact, 0, unix.SYS_CHDIR, raw.CString(isolate.EmptyDir))
		i.step(exact, 0, unix.SYS_CHROOT, raw.CString("."))
		return
	}
	fs, mount := i.scratch[0], i.scratch[1]
	i.step(exact, uint64(fs), unix.SYS_FSOPEN, raw.CString("tmpfs"), 0)
	i.step(exact, 0, unix.SYS_FSCONFIG, fs, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	i.step(exact, uint64(mount), unix.SYS_FSMOUNT, fs, 0, isolate.RootMount)
	i.step(exact, 0, unix.SYS_FCHDIR, mount)
	i.step(exact, 0, unix.SYS_CHROOT, raw.CString("."))
	i.try(unix.SYS_CLOSE, mount)
	i.try(unix.SYS_CLOSE, fs)
}

// landlock forbids what the kernel's version of it can.
func (i *isolation) landlock() {
	i.step(failed, 0, unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	i.ruleset([]int{isolate.LandlockVersion, 6, 5, 4, 3, 2, 1}) // those that add rules
	i.step(exact, 0, unix.SYS_LANDLOCK_RESTRICT_SELF, i.scratch[0], 0)
	i.try(unix.SYS_CLOSE, i.scratch[0])
}

// ruleset plans a ruleset of the first of the versions that the kernel knows.
func (i *isolation) ruleset(versions []int) {
	rules := isolate.LandlockRules(versions[0], true)
	if len(versions) == 1 {
		i.step(exact, uint64(i.scratch[0]), unix.SYS_LANDLOCK_CREATE_RULESET, rules, len(rules), 0)
		return
	}
	i.unless(exact, uint64(i.scratch[0]), func() { i.ruleset(versions[1:]) },
		unix.SYS_LANDLOCK_CREATE_RULESET, rules, len(rules), 0)
}

// speculation turns off control n of prctl(PR_SET_SPECULATION_CTRL) for good.
func (i *isolation) speculation(n int) {
	i.unless(exact, unix.PR_SPEC_NOT_AFFECTED, func() {
		i.step(exact, 0, unix.SYS_PRCTL, unix.PR_SET_SPECULATION_CTRL, n, unix.PR_SPEC_FORCE_DISABLE, 0, 0)
	}, unix.SYS_PRCTL, unix.PR_GET_SPECULATION_CTRL, n, 0, 0, 0)
}

// limits sets the resource limits. What is mapped and open is not affected by
// them. Files may not grow, but for the block devices, which the policy bounds:
// unless the console or a network device is a file.
func (i *isolation) limits() {
	for _, r := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NPROC, unix.RLIMIT_NOFILE, unix.RLIMIT_AS} {
		i.step(exact, 0, unix.SYS_PRLIMIT64, 0, r, words(0, 0), 0)
	}
	written := append(raw.Slice[int](0, 2+len(i.devices)), 1)
	if i.report {
		written = append(written, 2)
	}
	largest := uint64(0)
	for _, d := range i.devices {
		switch {
		case d.Type == image.Block:
			largest = max(largest, d.Capacity)
		case d.Inherited && !slices.Contains(written, d.FD):
			written = append(written, d.FD)
		}
	}
	i.fileSize(written, largest)
}

// fileSize plans a limit of n bytes for files, if none of the descriptors is one.
func (i *isolation) fileSize(written []int, n uint64) {
	if len(written) == 0 {
		i.try(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_FSIZE, words(n, n), 0)
		return
	}
	i.when(exact, errno(unix.ESPIPE), func() { i.fileSize(written[1:], n) }, unix.SYS_LSEEK, written[0], 0, unix.SEEK_CUR)
}

// capHeader is a struct __user_cap_header_struct for this process.
func capHeader() []byte { return words(unix.LINUX_CAPABILITY_VERSION_3) }
