// Package control puts containers into control groups of version 1, 2 or both,
// through the file system or systemd.
package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // rules for devices
	"github.com/opencontainers/cgroups/manager"

	"gocat/internal/oci/state"
)

// Group is a container's control group.
type Group struct {
	manager cgroups.Manager
	config  *cgroups.Cgroup
}

// Place says where the control group of a container belongs. A rootless one that the
// configuration names no place for belongs beside the runtime's own, where that may
// be made.
func Place(id, cgroupsPath string, systemd, disabled, rootless bool) (state.Cgroup, error) {
	if disabled {
		return state.Cgroup{Disabled: true}, nil
	}
	if systemd {
		parts := []string{"", "gocat", id}
		if cgroupsPath != "" {
			if parts = strings.Split(cgroupsPath, ":"); len(parts) != 3 {
				return state.Cgroup{}, fmt.Errorf("linux.cgroupsPath: %.80q: want slice:prefix:name for systemd", cgroupsPath)
			}
		}
		return state.Cgroup{Systemd: true, Rootless: rootless, Parent: parts[0], Prefix: parts[1], Name: parts[2]}, nil
	}
	if rootless && cgroupsPath == "" {
		return state.Cgroup{Rootless: true, Name: id}, nil
	}
	p := "/gocat/" + id
	if cgroupsPath != "" {
		p = path.Clean("/" + cgroupsPath)
	}
	if p == "/" {
		return state.Cgroup{}, errors.New("linux.cgroupsPath is the root: it cannot be limited or removed")
	}
	return state.Cgroup{Rootless: rootless, Path: p}, nil
}

// Open returns the control group at a place, with the given resource limits; nil
// for none.
func Open(place *state.Cgroup, r *cgroups.Resources) (*Group, error) {
	if place.Disabled || place.Path == "" && place.Name == "" && !place.Systemd {
		return nil, nil
	}
	if r == nil {
		r = &cgroups.Resources{SkipDevices: true}
	}
	c := &cgroups.Cgroup{Name: place.Name, Parent: place.Parent, ScopePrefix: place.Prefix, Path: place.Path, Systemd: place.Systemd, Rootless: place.Rootless, Resources: r}
	m, err := manager.NewWithPaths(c, place.Paths)
	if err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	place.Paths = m.GetPaths()
	return &Group{m, c}, nil
}

// Used reports whether there are processes in the group.
func (g *Group) Used() bool {
	if g == nil || !g.manager.Exists() {
		return false
	}
	pids, err := g.manager.GetAllPids()
	return err == nil && len(pids) > 0
}

// Enter makes the group, puts a process into it and sets its limits. Where a rootless
// runtime may not make it, there is none, and a limit is an error.
func (g *Group) Enter(pid int) error {
	if g == nil {
		return nil
	}
	if err := g.manager.Apply(pid); err != nil && !errors.Is(err, cgroups.ErrRootless) {
		return fmt.Errorf("control group: %w", err)
	}
	if err := g.manager.Set(g.config.Resources); err != nil {
		return fmt.Errorf("control group: %w", err)
	}
	return nil
}

// Set changes limits.
func (g *Group) Set(r *cgroups.Resources) error {
	if g == nil {
		return errDisabled
	}
	return g.manager.Set(r)
}

// Freeze keeps the group's processes from running, or lets them run again.
func (g *Group) Freeze(frozen bool) error {
	if g == nil {
		return errDisabled
	}
	dir := g.manager.Path("freezer")
	switch {
	case !frozen:
		return g.manager.Freeze(cgroups.Thawed)
	case cgroups.IsCgroup2UnifiedMode() || dir == "":
		return g.manager.Freeze(cgroups.Frozen)
	}
	// Of version 1, the library tries it for a fifth of a second, and lets the processes run
	// between: too little on a busy host. A guest makes no processes, so that it is
	// enough to wait until each has seen it.
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if err := cgroups.WriteFile(dir, "freezer.state", string(cgroups.Frozen)); err != nil {
			return err
		}
		state, err := cgroups.ReadFile(dir, "freezer.state")
		if err == nil && strings.TrimSpace(state) == string(cgroups.Frozen) {
			return nil
		}
		if err == nil && time.Since(start) > patience {
			err = errors.New("unable to freeze")
		}
		if err != nil {
			return errors.Join(err, g.manager.Freeze(cgroups.Thawed))
		}
	}
}

// patience is how long processes may take to be frozen.
const patience = 30 * time.Second

var errDisabled = errors.New("the container has no control group (--cgroup-manager=disabled)")

// Pids lists the group's processes. Threads of the kernel's, as KVM has one for each
// machine in its group of version 2, are not the container's.
func (g *Group) Pids() ([]int, error) {
	if g == nil || !g.manager.Exists() {
		return nil, nil
	}
	pids, err := g.manager.GetAllPids()
	return slices.DeleteFunc(pids, ofKernel), err
}

// ofKernel reports whether a process is a thread of the kernel's.
func ofKernel(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	const flags, kthread = 6, 0x00200000 // proc(5)'s ninth field, from the third on; PF_KTHREAD
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= flags {
		return false
	}
	n, err := strconv.ParseUint(fields[flags], 10, 64)
	return err == nil && n&kthread != 0
}

// Stats is what the group has used.
func (g *Group) Stats() (*cgroups.Stats, error) {
	if g == nil {
		return nil, errDisabled
	}
	return g.manager.GetStats()
}

// Remove removes the group, which has no processes any more.
func (g *Group) Remove() error {
	if g == nil {
		return nil
	}
	return g.manager.Destroy()
}
