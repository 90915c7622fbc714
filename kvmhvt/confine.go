package kvmhvt

import (
	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
	"gocat/internal/raw"
	"gocat/seccomp"
)

// Confine says what happens when a layer of confinement cannot be set up.
type Confine uint8

// How much confinement is required.
const (
	ConfineRequired  Confine = iota // all, except Landlock where the kernel has none
	ConfineAvailable                // what works; the rest is reported
	ConfineNone                     // none: for debugging
)

// own are the layers that Confine is about: Config.Isolate adds others.
const own isolate.Set = 1<<isolate.NoNewPrivs | 1<<isolate.Capabilities | 1<<isolate.Descriptors |
	1<<isolate.Landlock | 1<<isolate.Seccomp

// failure is why a layer is not in effect: words, or else an error number. The
// zero value is none.
type failure struct {
	text  string
	errno unix.Errno
}

func (f failure) none() bool { return f.text == "" && f.errno == 0 }

// untrue is a layer whose calls succeed but that is not in effect: a filter
// around gocat fakes their success.
var untrue = failure{text: "the kernel says that it was set up, and it does not hold: a seccomp filter that gocat inherited fakes it"}

// outcome is what became of a layer.
type outcome struct {
	layer isolate.Layer
	why   failure
}

// steps set up the layers, in this order: first what takes capabilities or paths,
// and the filter last. Each reads back what it has set up.
var steps = [...]struct {
	layer isolate.Layer
	do    func(*tender) failure
}{
	{isolate.Cgroup, (*tender).enterGroup},
	{isolate.User, (*tender).changeUser},
	{isolate.UserNS, func(*tender) failure { return unshare(isolate.UserNS, "user") }},
	{isolate.MountNS, func(*tender) failure { return unshare(isolate.MountNS, "mnt") }},
	{isolate.NetNS, func(*tender) failure { return unshare(isolate.NetNS, "net") }},
	{isolate.IPCNS, func(*tender) failure { return unshare(isolate.IPCNS, "ipc") }},
	{isolate.UTSNS, func(*tender) failure { return unshare(isolate.UTSNS, "uts") }},
	{isolate.CgroupNS, func(*tender) failure { return unshare(isolate.CgroupNS, "cgroup") }},
	{isolate.Root, (*tender).emptyRoot},
	{isolate.NoNewPrivs, func(*tender) failure { return noNewPrivs() }},
	{isolate.Landlock, func(*tender) failure { return landlock() }},
	{isolate.StoreBypass, func(*tender) failure { return restrictSpeculation(0) }},
	{isolate.IndirectBranch, func(*tender) failure { return restrictSpeculation(1) }},
	{isolate.BoundingSet, func(*tender) failure { return dropBoundingSet() }},
	{isolate.Securebits, func(*tender) failure { return lockSecurebits() }},
	{isolate.Capabilities, func(*tender) failure { return dropCapabilities() }},
	{isolate.Undumpable, func(*tender) failure { return undumpable() }},
	{isolate.Limits, (*tender).limit},
	{isolate.Descriptors, (*tender).closeOthers},
	{isolate.Seccomp, (*tender).filter},
}

// confine gives up everything that running the guest does not need. The process
// ends if a required layer is not in effect.
func (t *tender) confine() {
	c, how := &t.config.Isolate, t.config.Confine
	if how == ConfineNone {
		raw.Close(t.machine.kvm) // which tells others that the machine is complete
		return
	}
	if s := c.CPUTime; s != 0 {
		if errno := setLimit(unix.RLIMIT_CPU, s, s+1); errno != 0 {
			t.refuse("could not limit the processor time: ", failure{errno: errno})
		}
	}
	filtered := raw.Filtered()
	_, t.openable = getLimit(unix.RLIMIT_NOFILE)
	wanted := own | c.Wanted()
	t.layers = raw.Slice[outcome](0, len(steps))
	t.prepareFilter()
	for i := range steps {
		l := steps[i].layer
		why, must := failure{}, c.Must(l)
		switch {
		case !wanted.Has(l):
			why.text = c.Unwanted(l)
		case filtered && isolate.Risky.Has(l) && !own.Has(l) && !must:
			why.text = isolate.Untried
		default:
			why = steps[i].do(t)
			if why.none() {
				break
			}
			if why.text == "" && !own.Has(l) {
				why = failure{text: c.Host.Reason(l, why.errno)}
			}
			if must {
				t.refuse(c.Refusal(l), why)
			}
			if how == ConfineRequired && own.Has(l) && why != noLandlock {
				t.refuse(raw.Concat("confine the tender: ", l.String(), ": "), why)
			}
		}
		t.layers = append(t.layers, outcome{l, why})
	}
}

// refuse ends the process because the guest cannot be started, and says why.
func (t *tender) refuse(what string, why failure) {
	t.say.n = 0
	t.say.text(t.config.Prog).text(": ").clean(what)
	t.say.failure(why)
	if nr, refused := raw.RefusedWith(why.errno); refused && why.text == "" {
		t.say.text(": ").text(seccomp.SyscallName(nr)).text(raw.MayRefuse)
	}
	t.flush()
	raw.Exit(int(t.config.Failure))
}

// failure appends why a layer is not in effect.
func (l *line) failure(f failure) *line {
	if f.text != "" {
		l.text(f.text)
		if f.errno != 0 {
			l.text(": ")
		}
	}
	if f.errno != 0 {
		l.errno(f.errno)
	}
	return l
}

// report prints what confines the guest, if the configuration asks for it.
func (t *tender) report() {
	if !t.config.Verbose {
		return
	}
	t.say.n = 0
	var unasked isolate.Set
	for _, o := range t.layers {
		if !(own | t.config.Isolate.Wanted()).Has(o.layer) {
			unasked |= isolate.Of(o.layer)
			continue
		}
		t.say.text("gocat: confinement: ").text(o.layer.String()).text(": ")
		if o.why.none() {
			t.say.text(t.config.Isolate.Host.On(o.layer))
		} else {
			t.say.text("off: ").failure(o.why)
		}
		t.flush()
	}
	if unasked != 0 {
		t.say.text("gocat: confinement: ").text(t.config.Isolate.Unasked(unasked))
		t.flush()
	}
	switch {
	case t.timer.Lack != "":
		t.say.text("gocat: timer: off: ").text(t.timer.Lack)
		t.flush()
	case t.timer.Period != 0:
		t.say.text("gocat: timer: on")
		t.flush()
	}
}

// kept lists the descriptors that the tender keeps, ascending.
func (t *tender) kept() []int {
	s := &t.services
	keep := raw.Slice[int](0, 8+2*len(t.config.Devices))
	add := func(fd int) {
		i := len(keep)
		for i > 0 && keep[i-1] > fd {
			i--
		}
		if i > 0 && keep[i-1] == fd {
			return
		}
		keep = append(keep, 0)
		copy(keep[i+1:], keep[i:])
		keep[i] = fd
	}
	for _, fd := range [...]int{stdout, stderr, s.console.fd, t.machine.vcpu, s.waits.epoll, s.waits.timer} {
		add(fd)
	}
	for i := range t.config.Devices {
		add(t.config.Devices[i].FD)
	}
	for _, n := range s.nets {
		if n != nil {
			add(n.port.FD)
		}
	}
	if t.config.Trace != NoFD {
		add(t.config.Trace)
	}
	if t.config.Debug != NoFD {
		add(t.config.Debug)
	}
	return keep
}

// closeOthers closes all descriptors except those that the tender keeps. It closes
// them one by one where close_range fails: Linux before 5.9 has none, and the
// filters of some containers refuse it.
func (t *tender) closeOthers() failure {
	first := 0
	for _, fd := range append(t.kept(), 1<<31-1) {
		if fd > first && !raw.CloseRange(first, fd-1) && t.openable > raw.MaxClose+1 {
			return failure{text: raw.NoCloseRange}
		}
		first = fd + 1
	}
	for _, fd := range [...]int{t.machine.kvm, t.machine.vm} {
		if _, err := raw.Fcntl(fd, unix.F_GETFD, 0); err != unix.EBADF {
			return untrue
		}
	}
	return failure{}
}
