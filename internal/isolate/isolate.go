// Package isolate separates a guest's process from the rest of the host in
// layers. It names them, says which of them a run sets up and why one is not in
// effect, and plans their set-up for a process of one thread (Setup).
package isolate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gocat/internal/raw"
)

// Layer is one layer of isolation.
type Layer uint8

// Layers.
const (
	NoNewPrivs   Layer = iota // execve grants nothing
	Capabilities              // none: permitted, effective, inheritable, ambient
	BoundingSet               // no capability can come back, even by execve
	Securebits                // user 0 has no capabilities by itself; locked
	Descriptors               // none but the guest's
	Undumpable                // no core, no ptrace, /proc/PID is root's
	Limits                    // resource limits: core, nproc, nofile, as, and fsize where it can hold
	Landlock                  // nothing opened by path, no TCP port, no abstract socket
	Seccomp                   // the backend's system call policy
	Cgroup                    // a control group that somebody made for the guest, and its limits
	User                      // another user, without supplementary groups
	UserNS                    // user namespace
	MountNS
	NetNS
	IPCNS
	UTSNS
	CgroupNS
	Root           // an empty root directory
	StoreBypass    // no speculative store bypass
	IndirectBranch // no speculation of indirect branches across processes
	layers
)

// names of the layers, as users know them.
var names = [layers]string{
	"no_new_privs", "capabilities", "bounding-set", "securebits", "descriptors", "undumpable", "limits",
	"landlock", "seccomp", "cgroup", "user", "user-ns", "mount-ns", "net-ns", "ipc-ns", "uts-ns", "cgroup-ns", "root",
	"store-bypass", "indirect-branch",
}

// String returns the layer's name.
func (l Layer) String() string {
	if l >= layers {
		return "layer " + strconv.Itoa(int(l))
	}
	return names[l]
}

// ParseLayer returns the layer called name.
func ParseLayer(name string) (Layer, error) {
	for i, n := range names {
		if n == name {
			return Layer(i), nil
		}
	}
	switch name {
	case "pid-ns":
		return 0, errors.New("pid-ns: only a child can be in a new one, and gocat starts none")
	case "time-ns":
		return 0, errors.New("time-ns: it hides nothing; guests read the host's clocks")
	}
	return 0, fmt.Errorf("%q is no layer: want some of %s", name, strings.Join(names[:], ", "))
}

// Set is a set of layers.
type Set uint32

// Of returns the set of the given layers.
func Of(layers ...Layer) (s Set) {
	for _, l := range layers {
		s |= 1 << l
	}
	return s
}

// Has reports whether l is in the set.
func (s Set) Has(l Layer) bool { return s>>l&1 != 0 }

// Layers lists the set.
func (s Set) Layers() (list []Layer) {
	for l := range layers {
		if s.Has(l) {
			list = append(list, l)
		}
	}
	return list
}

// Mode says how many layers a run sets up.
type Mode uint8

// Modes.
const (
	None Mode = iota // those that a backend never goes without, and those required
	Auto             // those that cost little, where the host allows them
	Full             // all, or the guest is not started
)

// ParseMode reads the name of a mode.
func ParseMode(v string) (Mode, error) {
	switch v {
	case "none":
		return None, nil
	case "auto":
		return Auto, nil
	case "full":
		return Full, nil
	}
	return 0, fmt.Errorf("%q: want auto, full or none", v)
}

// Config says how a guest is isolated. The zero value is None.
type Config struct {
	Mode    Mode
	Cheap   Set    // the layers of Auto: CheapSPT or CheapHVT
	Require Set    // these must hold
	UID     uint32 // with User required: who the guest runs as
	GID     uint32
	Group   Group  // with Cgroup required: which
	CPUTime uint64 // seconds of processor time after which the kernel kills the process; 0 is no limit
	Report  bool   // say on standard error which layers hold
	Traced  bool   // the user looks on, so the process is not Undumpable unless it must be
	Host    Host   // for the reasons why one does not
	Option  string // what messages put before the names of settings: "--" on a command line
}

// optional are the layers that only run where they are asked for by name.
const optional Set = 1<<Cgroup | 1<<User | 1<<StoreBypass | 1<<IndirectBranch

// basic are the layers that are part of every mode.
const basic Set = 1<<NoNewPrivs | 1<<Descriptors | 1<<Seccomp

// privileged are the layers that need capabilities, which a user namespace gives.
const privileged Set = 1<<MountNS | 1<<NetNS | 1<<IPCNS | 1<<UTSNS | 1<<CgroupNS | 1<<Root | 1<<BoundingSet | 1<<Securebits

// Risky are the layers whose system calls are not tried under an inherited
// seccomp filter unless they must hold: the filter may kill for them, and gocat
// makes none of them otherwise.
const Risky Set = 1<<UserNS | 1<<MountNS | 1<<NetNS | 1<<IPCNS | 1<<UTSNS | 1<<CgroupNS | 1<<Root | 1<<Landlock

// Untried is the reason why a risky layer is not in effect then.
const Untried = "not tried: the seccomp filter that gocat inherited may kill for it; it is tried where it is required"

// The layers of Auto: with the others a sealed guest would start too late
// (docs/isolation.md has the numbers). What opens no path needs no empty root
// beside Landlock; a tender of hvt guests, which is slower to start, has both.
const (
	CheapSPT = basic | 1<<Capabilities | 1<<Securebits | 1<<Undumpable | 1<<Limits | 1<<Landlock
	CheapHVT = CheapSPT | 1<<Root
)

// Wanted returns the layers that a run sets up.
func (c *Config) Wanted() Set {
	wanted := basic | c.Require
	switch c.Mode {
	case Full:
		wanted |= (1<<layers - 1) &^ optional
	case Auto:
		wanted |= c.Cheap
	}
	if c.Require&privileged != 0 {
		wanted |= Of(UserNS)
	}
	if c.Traced && !c.Must(Undumpable) {
		wanted &^= Of(Undumpable)
	}
	if c.Require.Has(User) {
		wanted |= Of(Capabilities)
	}
	return wanted
}

// Must reports whether the guest must not start without l. Another user has
// none of the capabilities that it took to become one.
func (c *Config) Must(l Layer) bool {
	return c.Require.Has(l) || c.Mode == Full && !optional.Has(l) || l == Capabilities && c.Require.Has(User)
}

// SettingError says that a layer is required by a setting of its own, which says
// which group or user.
type SettingError struct{ Layer Layer }

func (e *SettingError) Error() string {
	return e.Layer.String() + " has a setting of its own, which requires it"
}

// SetRequire adds a list of layers, with commas between them, to the required.
func (c *Config) SetRequire(v string) error {
	for name := range strings.SplitSeq(v, ",") {
		l, err := ParseLayer(name)
		if err != nil {
			return err
		}
		if l == Cgroup || l == User { // it would not know which
			return &SettingError{l}
		}
		c.Require |= Of(l)
	}
	return nil
}

// errUser says what --user takes.
var errUser = errors.New("want UID or UID:GID, numbers from 0 to 4294967294, or names in /etc/passwd and /etc/group")

// SetUser reads UID or UID:GID; the group is the user's number without. A name is
// looked up in /etc/passwd, and its group is the user's there.
func (c *Config) SetUser(v string) error {
	uid, gid, both := strings.Cut(v, ":")
	if uid != "" && (uid[0] < '0' || uid[0] > '9') {
		entry, err := lookUp("/etc/passwd", uid, 4)
		if err != nil {
			return err
		}
		uid = entry[2]
		if !both {
			gid, both = entry[3], true
		}
	}
	if !both {
		gid = uid
	} else if gid != "" && (gid[0] < '0' || gid[0] > '9') {
		entry, err := lookUp("/etc/group", gid, 3)
		if err != nil {
			return err
		}
		gid = entry[2]
	}
	for _, n := range []struct {
		text string
		dst  *uint32
	}{{uid, &c.UID}, {gid, &c.GID}} {
		id, err := strconv.ParseUint(n.text, 10, 32)
		if err != nil || id == 1<<32-1 { // the last means: no change
			return fmt.Errorf("%q: %w", v, errUser)
		}
		*n.dst = uint32(id)
	}
	c.Require |= Of(User)
	return nil
}

// SetCPUTime reads a number of seconds.
func (c *Config) SetCPUTime(v string) error {
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("%q: want a number of seconds", v)
	}
	c.CPUTime = n
	return nil
}

// Unasked says which layers of s are off because nobody asked for them.
func (c *Config) Unasked(s Set) string {
	names := raw.Slice[string](0, int(layers))
	for l := range layers {
		if s.Has(l) {
			names = append(names, l.String())
		}
	}
	return raw.Concat("not asked for: ", raw.Join(names, ", "), " (see ", c.Option, "isolate and ", c.Option, "require)")
}

// Unwanted says why a layer is not set up.
func (c *Config) Unwanted(l Layer) string {
	switch {
	case l == Cgroup || l == User:
		return raw.Concat("no ", c.Option, l.String())
	case optional.Has(l):
		return raw.Concat("only set by ", c.Option, "require=", l.String())
	case l == Undumpable && c.Traced:
		return "a trace reads the guest's memory"
	case c.Mode == Auto:
		return raw.Concat("costs time, so not part of ", c.Option, "isolate=auto")
	}
	return raw.Concat("not part of ", c.Option, "isolate=none")
}

// Refusal begins the message with which a run ends because l is not in effect.
func (c *Config) Refusal(l Layer) string {
	setting := "isolate=full"
	switch {
	case l == Cgroup || l == User:
		setting = l.String()
	case c.Require.Has(l):
		setting = "require"
	case c.Mode != Full: // what another user asks for besides
		setting = "user"
	}
	return raw.Concat(c.Option, setting, ": ", l.String(), " does not hold: ")
}
