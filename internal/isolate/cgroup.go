package isolate

import (
	"fmt"
	"strconv"
	"strings"

	"gocat/internal/raw"
)

// Group is a control group of version 2 that a guest's process enters, and the
// limits that are set for it before. Whoever made it removes it: when the guest
// has ended, gocat is not there any more, or can open nothing.
type Group struct {
	Dir    string // its directory
	Memory uint64 // bytes; 0 leaves memory.max as it is
	CPU    uint64 // percent of one processor; 0 leaves cpu.max as it is
}

// cpuPeriod is the period of cpu.max in microseconds.
const cpuPeriod = 100000

// SetGroup reads DIR[,memory=MB][,cpu=PERCENT].
func (c *Config) SetGroup(v string) error {
	dir, settings, more := strings.Cut(v, ",")
	c.Group = Group{Dir: dir}
	for more {
		var setting string
		setting, settings, more = strings.Cut(settings, ",")
		name, value, _ := strings.Cut(setting, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		switch {
		case err != nil || n == 0:
			return errGroup(v)
		case name == "memory" && c.Group.Memory == 0:
			c.Group.Memory = n << 20
		case name == "cpu" && c.Group.CPU == 0:
			c.Group.CPU = n
		default:
			return errGroup(v)
		}
	}
	if dir == "" || strings.IndexByte(dir, 0) >= 0 {
		return errGroup(v)
	}
	c.Require |= Of(Cgroup)
	return nil
}

// errGroup says what --cgroup takes.
func errGroup(v string) error {
	return fmt.Errorf("%q: want DIR[,memory=MB][,cpu=PERCENT], of a control group that exists and numbers from 1", v)
}

// Writes lists what is to be written for a process to enter the group, in this
// order: pairs of a path and a line. Nothing else in the group is changed.
func (g *Group) Writes() [][2]string {
	w := raw.Slice[[2]string](0, 3)
	if g.Memory != 0 {
		w = append(w, [2]string{raw.Concat(g.Dir, "/memory.max"), raw.Concat(raw.Decimal(g.Memory), "\n")})
	}
	if g.CPU != 0 {
		w = append(w, [2]string{raw.Concat(g.Dir, "/cpu.max"), raw.Concat(raw.Decimal(g.CPU*(cpuPeriod/100)), " ", raw.Decimal(cpuPeriod), "\n")})
	}
	return append(w, [2]string{raw.Concat(g.Dir, "/cgroup.procs"), "0\n"}) // 0 is who writes it
}
