package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/spf13/pflag"

	"gocat/internal/oci/bundle"
	"gocat/internal/oci/control"
	"gocat/internal/oci/state"
)

// update are the limits that options of the verb give.
type update struct {
	memory, reservation, swap          string
	period, quota, shares, burst, pids int64
	realtimePeriod, realtimeRuntime    int64
	cpus, mems                         string
	weight                             int64
	kernel, kernelTCP                  string
}

func updateFlags(f *pflag.FlagSet, c *call) {
	u := &c.update
	f.StringVarP(&c.resources, "resources", "r", "", "read the limits from this file, as linux.resources of config.json; - is standard input")
	f.StringVar(&u.memory, "memory", "", "memory in bytes, or with k, m or g")
	f.StringVar(&u.reservation, "memory-reservation", "", "memory that it is pushed back to when the host is short")
	f.StringVar(&u.swap, "memory-swap", "", "memory and swap together; -1 for no limit")
	f.StringVar(&u.kernel, "kernel-memory", "", "refused: --memory counts it")
	f.StringVar(&u.kernelTCP, "kernel-memory-tcp", "", "refused: --memory counts it")
	f.Int64Var(&u.period, "cpu-period", 0, "period of the processor quota in microseconds")
	f.Int64Var(&u.quota, "cpu-quota", 0, "processor time in a period in microseconds")
	f.Int64Var(&u.burst, "cpu-burst", 0, "processor time that may be saved up, in microseconds")
	f.Int64Var(&u.shares, "cpu-share", 0, "share of the processor")
	f.Int64Var(&u.realtimePeriod, "cpu-rt-period", 0, "period of the realtime quota in microseconds")
	f.Int64Var(&u.realtimeRuntime, "cpu-rt-runtime", 0, "realtime processor time in a period in microseconds")
	f.StringVar(&u.cpus, "cpuset-cpus", "", "processors it may use")
	f.StringVar(&u.mems, "cpuset-mems", "", "memory nodes it may use")
	f.Int64Var(&u.weight, "blkio-weight", 0, "share of block devices")
	f.Int64Var(&u.pids, "pids-limit", 0, "number of processes")
}

// changeLimits changes the limits of a container's control group. The guest's own
// memory stays what it was given.
func changeLimits(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	unlock, err := s.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	status := s.Status()
	if status == state.Stopped {
		return state.ErrNotRunning
	}
	r := &specs.LinuxResources{}
	if c.resources != "" {
		if r, err = readResources(c.resources); err != nil {
			return err
		}
	} else if err := c.update.fill(r); err != nil {
		return err
	}
	if err := bundle.CheckResources(r); err != nil {
		return err
	}
	r.Devices = nil
	set, err := control.Resources(r)
	if err != nil {
		return err
	}
	set.Devices, set.SkipDevices = nil, true
	group, err := control.Open(&s.Cgroup, set)
	if err != nil {
		return err
	}
	if status == state.Created && set.PidsLimit != nil {
		s.Pids = control.HoldBack(set)
		if err := s.Save(); err != nil {
			return err
		}
	}
	return group.Set(set)
}

// maxResources is the size in bytes of the largest file of limits.
const maxResources = 1 << 20

func readResources(path string) (*specs.LinuxResources, error) {
	var in io.Reader = os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxResources+1))
	if err != nil {
		return nil, err
	}
	var r specs.LinuxResources
	if err := json.Unmarshal(b, &r); err != nil || len(b) > maxResources {
		return nil, errors.New("--resources: want a JSON object as linux.resources of config.json")
	}
	return &r, nil
}

// fill makes resources of the options that were given.
func (u *update) fill(r *specs.LinuxResources) error {
	m, p := &specs.LinuxMemory{}, &specs.LinuxCPU{}
	for _, v := range []struct {
		name, text string
		to         **int64
	}{{"memory", u.memory, &m.Limit}, {"memory-reservation", u.reservation, &m.Reservation}, {"memory-swap", u.swap, &m.Swap},
		//lint:ignore SA1019 it is refused by that name
		{"kernel-memory", u.kernel, &m.Kernel}, {"kernel-memory-tcp", u.kernelTCP, &m.KernelTCP}} {
		if v.text == "" {
			continue
		}
		n, err := bytes(v.text)
		if err != nil {
			return fmt.Errorf("--%s: %w", v.name, err)
		}
		*v.to = &n
	}
	unsigned := func(n int64) *uint64 {
		if n <= 0 {
			return nil
		}
		v := uint64(n)
		return &v
	}
	signed := func(n int64) *int64 {
		if n == 0 {
			return nil
		}
		return &n
	}
	p.Period, p.Quota, p.Shares, p.Burst = unsigned(u.period), signed(u.quota), unsigned(u.shares), unsigned(u.burst)
	p.RealtimePeriod, p.RealtimeRuntime = unsigned(u.realtimePeriod), signed(u.realtimeRuntime)
	p.Cpus, p.Mems = u.cpus, u.mems
	r.Memory, r.CPU = m, p
	if u.pids != 0 {
		r.Pids = &specs.LinuxPids{Limit: &u.pids}
	}
	if u.weight != 0 {
		if u.weight < 10 || u.weight > 1000 {
			return errors.New("--blkio-weight: want 10 to 1000")
		}
		w := uint16(u.weight)
		r.BlockIO = &specs.LinuxBlockIO{Weight: &w}
	}
	return nil
}

// bytes reads a number of bytes, perhaps with a unit.
func bytes(s string) (int64, error) {
	unit := int64(1)
	text := strings.TrimSuffix(strings.ToLower(s), "b")
	for i, suffix := range []string{"k", "m", "g", "t"} {
		if t, ok := strings.CutSuffix(text, suffix); ok {
			text, unit = t, 1<<(10*(i+1))
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n > 1<<62/unit || n < -1 {
		return 0, fmt.Errorf("%.40q: want a number of bytes, perhaps with k, m or g", s)
	}
	return n * unit, nil
}

func eventsFlags(f *pflag.FlagSet, c *call) {
	f.BoolVar(&c.stats, "stats", false, "print once what the container has used, and end")
	f.StringVar(&c.interval, "interval", "5s", "print it again after this time")
}

// event is what events prints: an object a line, as runc's.
type event struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Data any    `json:"data,omitempty"`
}

// events prints what the container has used, once or until it ends.
func events(c *call) error {
	s, err := c.load()
	if err != nil {
		return err
	}
	pause, err := time.ParseDuration(c.interval)
	if err != nil || pause <= 0 {
		return fmt.Errorf("--interval: %.40q: want a time, such as 5s", c.interval)
	}
	group, err := control.Open(&s.Cgroup, nil)
	if err != nil {
		return err
	}
	for s.Status() != state.Stopped {
		now, err := group.Stats()
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(event{"stats", s.ID, used(now)}); err != nil || c.stats {
			return err
		}
		time.Sleep(pause)
	}
	return state.ErrNotRunning
}
