package command

import "github.com/opencontainers/cgroups"

// The names of runc's events, which engines read.
type (
	statistics struct {
		CPU     cpuUsed                `json:"cpu"`
		Memory  memoryUsed             `json:"memory"`
		Pids    pidsUsed               `json:"pids"`
		Blkio   cgroups.BlkioStats     `json:"blkio"`
		Hugetlb map[string]hugetlbUsed `json:"hugetlb"`
	}
	cpuUsed struct {
		Usage struct {
			Total  uint64   `json:"total,omitempty"` // nanoseconds
			Percpu []uint64 `json:"percpu,omitempty"`
			Kernel uint64   `json:"kernel"`
			User   uint64   `json:"user"`
		} `json:"usage"`
		Throttling struct {
			Periods          uint64 `json:"periods,omitempty"`
			ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
			ThrottledTime    uint64 `json:"throttledTime,omitempty"`
		} `json:"throttling"`
	}
	memoryEntry struct {
		Limit   uint64 `json:"limit"`
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
	memoryUsed struct {
		Cache     uint64            `json:"cache,omitempty"`
		Usage     memoryEntry       `json:"usage"`
		Swap      memoryEntry       `json:"swap"`
		Kernel    memoryEntry       `json:"kernel"`
		KernelTCP memoryEntry       `json:"kernelTCP"`
		Raw       map[string]uint64 `json:"raw,omitempty"`
	}
	pidsUsed struct {
		Current uint64 `json:"current,omitempty"`
		Limit   uint64 `json:"limit,omitempty"`
	}
	hugetlbUsed struct {
		Usage   uint64 `json:"usage,omitempty"`
		Max     uint64 `json:"max,omitempty"`
		Failcnt uint64 `json:"failcnt"`
	}
)

// used is what a control group has used.
func used(s *cgroups.Stats) *statistics {
	v := &statistics{Hugetlb: map[string]hugetlbUsed{}, Blkio: s.BlkioStats}
	c := &s.CpuStats
	v.CPU.Usage.Total, v.CPU.Usage.Percpu = c.CpuUsage.TotalUsage, c.CpuUsage.PercpuUsage
	v.CPU.Usage.Kernel, v.CPU.Usage.User = c.CpuUsage.UsageInKernelmode, c.CpuUsage.UsageInUsermode
	v.CPU.Throttling.Periods = c.ThrottlingData.Periods
	v.CPU.Throttling.ThrottledPeriods, v.CPU.Throttling.ThrottledTime = c.ThrottlingData.ThrottledPeriods, c.ThrottlingData.ThrottledTime
	entry := func(d cgroups.MemoryData) memoryEntry { return memoryEntry{d.Limit, d.Usage, d.MaxUsage, d.Failcnt} }
	m := &s.MemoryStats
	v.Memory = memoryUsed{m.Cache, entry(m.Usage), entry(m.SwapUsage), entry(m.KernelUsage), entry(m.KernelTCPUsage), m.Stats}
	v.Pids = pidsUsed{s.PidsStats.Current, s.PidsStats.Limit}
	for size, h := range s.HugetlbStats {
		v.Hugetlb[size] = hugetlbUsed{h.Usage, h.MaxUsage, h.Failcnt}
	}
	return v
}
