package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/oci/state"
)

// Resources are a container's resources as the library takes them.
func Resources(r *specs.LinuxResources) (*cgroups.Resources, error) {
	c := &cgroups.Resources{}
	if r == nil {
		r = &specs.LinuxResources{}
	}
	if name := onlyV1(r); name != "" && cgroups.IsCgroup2UnifiedMode() {
		return nil, fmt.Errorf("linux.resources.%s is not supported: control groups of version 2 do not have it", name)
	}
	for i := range r.Devices {
		rule, err := deviceRule(&r.Devices[i])
		if err != nil {
			return nil, err
		}
		c.Devices = append(c.Devices, rule)
	}
	c.Devices = append(c.Devices, ownDevices()...)
	memory(c, r.Memory)
	cpu(c, r.CPU)
	if r.Pids != nil && r.Pids.Limit != nil {
		c.PidsLimit = r.Pids.Limit
	}
	blockIO(c, r.BlockIO)
	for _, l := range r.HugepageLimits {
		c.HugetlbLimit = append(c.HugetlbLimit, &cgroups.HugepageLimit{Pagesize: l.Pagesize, Limit: l.Limit})
	}
	if n := r.Network; n != nil {
		if n.ClassID != nil {
			c.NetClsClassid = *n.ClassID
		}
		for _, p := range n.Priorities {
			c.NetPrioIfpriomap = append(c.NetPrioIfpriomap, &cgroups.IfPrioMap{Interface: p.Name, Priority: int64(p.Priority)})
		}
	}
	if len(r.Rdma) > 0 {
		c.Rdma = make(map[string]cgroups.LinuxRdma)
		for name, l := range r.Rdma {
			c.Rdma[name] = cgroups.LinuxRdma{HcaHandles: l.HcaHandles, HcaObjects: l.HcaObjects}
		}
	}
	if len(r.Unified) > 0 {
		c.Unified = r.Unified
	}
	return c, nil
}

// onlyV1 names a limit that is asked for and that only version 1 has, or returns "".
func onlyV1(r *specs.LinuxResources) string {
	m, p, b, n := r.Memory, r.CPU, r.BlockIO, r.Network
	switch {
	case m != nil && m.Swappiness != nil:
		return "memory.swappiness"
	case m != nil && m.DisableOOMKiller != nil && *m.DisableOOMKiller:
		return "memory.disableOOMKiller"
	case p != nil && p.RealtimeRuntime != nil && *p.RealtimeRuntime != 0:
		return "cpu.realtimeRuntime"
	case p != nil && p.RealtimePeriod != nil && *p.RealtimePeriod != 0:
		return "cpu.realtimePeriod"
	case b != nil && b.LeafWeight != nil:
		return "blockIO.leafWeight"
	case b != nil && slices.ContainsFunc(b.WeightDevice, func(d specs.LinuxWeightDevice) bool { return d.LeafWeight != nil }):
		return "blockIO.weightDevice.leafWeight"
	case n != nil && n.ClassID != nil:
		return "network.classID"
	case n != nil && len(n.Priorities) > 0:
		return "network.priorities"
	}
	return ""
}

// fewPids is what a container's init needs until it is the guest, which is one process:
// it has threads.
const fewPids = 16

// HoldBack raises a limit of processes that a container's init could not live with. It
// returns the limit for SetPids when the container is the guest, or nil.
func HoldBack(r *cgroups.Resources) *int64 {
	limit := r.PidsLimit
	if limit == nil || *limit < 0 || *limit >= fewPids {
		return nil
	}
	few := int64(fewPids)
	r.PidsLimit = &few
	return limit
}

// SetPids sets the limit of processes in the control group at a place.
func SetPids(place *state.Cgroup, limit int64) error {
	r := &cgroups.Resources{PidsLimit: &limit, SkipDevices: true}
	g, err := Open(place, r)
	if err != nil {
		return err
	}
	return g.Set(r)
}

func memory(c *cgroups.Resources, m *specs.LinuxMemory) {
	if m == nil {
		return
	}
	set(&c.Memory, m.Limit)
	set(&c.MemoryReservation, m.Reservation)
	set(&c.MemorySwap, m.Swap)
	c.MemorySwappiness = m.Swappiness
	set(&c.OomKillDisable, m.DisableOOMKiller)
	set(&c.MemoryCheckBeforeUpdate, m.CheckBeforeUpdate)
}

func cpu(c *cgroups.Resources, p *specs.LinuxCPU) {
	if p == nil {
		return
	}
	if p.Shares != nil {
		c.CpuShares = *p.Shares
		c.CpuWeight = cgroups.ConvertCPUSharesToCgroupV2Value(*p.Shares)
	}
	set(&c.CpuQuota, p.Quota)
	set(&c.CpuPeriod, p.Period)
	c.CpuBurst = p.Burst
	set(&c.CpuRtRuntime, p.RealtimeRuntime)
	set(&c.CpuRtPeriod, p.RealtimePeriod)
	c.CpusetCpus, c.CpusetMems, c.CPUIdle = p.Cpus, p.Mems, p.Idle
}

func blockIO(c *cgroups.Resources, b *specs.LinuxBlockIO) {
	if b == nil {
		return
	}
	set(&c.BlkioWeight, b.Weight)
	set(&c.BlkioLeafWeight, b.LeafWeight)
	for _, d := range b.WeightDevice {
		var weight, leaf uint16
		set(&weight, d.Weight)
		set(&leaf, d.LeafWeight)
		c.BlkioWeightDevice = append(c.BlkioWeightDevice, cgroups.NewWeightDevice(d.Major, d.Minor, weight, leaf))
	}
	for _, t := range []struct {
		to   *[]*cgroups.ThrottleDevice
		from []specs.LinuxThrottleDevice
	}{
		{&c.BlkioThrottleReadBpsDevice, b.ThrottleReadBpsDevice}, {&c.BlkioThrottleWriteBpsDevice, b.ThrottleWriteBpsDevice},
		{&c.BlkioThrottleReadIOPSDevice, b.ThrottleReadIOPSDevice}, {&c.BlkioThrottleWriteIOPSDevice, b.ThrottleWriteIOPSDevice},
	} {
		for _, d := range t.from {
			*t.to = append(*t.to, cgroups.NewThrottleDevice(d.Major, d.Minor, d.Rate))
		}
	}
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func deviceRule(d *specs.LinuxDeviceCgroup) (*devices.Rule, error) {
	r := &devices.Rule{Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: devices.Permissions(d.Access), Allow: d.Allow}
	switch d.Type {
	case "", "a":
	case "b":
		r.Type = devices.BlockDevice
	case "c":
		r.Type = devices.CharDevice
	default:
		return nil, fmt.Errorf("linux.resources.devices: type %.20q: want a, b or c", d.Type)
	}
	set(&r.Major, d.Major)
	set(&r.Minor, d.Minor)
	if strings.Trim(d.Access, "rwm") != "" {
		return nil, fmt.Errorf("linux.resources.devices: access %.20q: want some of rwm", d.Access)
	}
	if d.Access == "" {
		r.Permissions = "rwm"
	}
	r.Permissions = r.Permissions.Union("") // in the kernel's order
	return r, nil
}

// ownDevices are those that every container has.
func ownDevices() (rules []*devices.Rule) {
	for _, d := range []struct{ major, minor int64 }{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, {136, devices.Wildcard}, // tty, console, ptmx, pts
	} {
		rules = append(rules, &devices.Rule{Type: devices.CharDevice, Major: d.major, Minor: d.minor, Permissions: "rwm", Allow: true})
	}
	for _, t := range []devices.Type{devices.CharDevice, devices.BlockDevice} {
		rules = append(rules, &devices.Rule{Type: t, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "m", Allow: true})
	}
	return rules
}
