package command_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"gocat/internal/image"
)

// processor is what events says of a container's processor time.
type processor struct {
	Usage      struct{ Total uint64 } // nanoseconds
	Throttling struct{ Periods, ThrottledPeriods uint64 }
}

func (b *box) processor() processor {
	b.t.Helper()
	var e struct{ Data struct{ CPU processor } }
	if err := json.Unmarshal([]byte(b.must("events", "--stats", b.id)), &e); err != nil {
		b.t.Fatal(err)
	}
	return e.Data.CPU
}

// TestProcessorLimit shows that the kernel keeps a guest that only computes to its
// quota, and that one that is paused computes nothing.
func TestProcessorLimit(t *testing.T) {
	b := newBox(t, coded(t, []byte{0xeb, 0xfe})) // jmp .
	quota, period := int64(10_000), uint64(100_000)
	b.spec.Linux.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	b.save()
	b.created()
	b.must("start", b.id)
	from := b.processor()
	var now processor
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if now = b.processor(); now.Throttling.ThrottledPeriods >= from.Throttling.ThrottledPeriods+5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it was not kept from running: %+v, then %+v", from, now)
		}
	}
	// In a period it may use what the quota leaves of it, and the kernel gives out
	// slices of 5 ms for each processor ahead.
	used, periods := now.Usage.Total-from.Usage.Total, now.Throttling.Periods-from.Throttling.Periods
	if most := (periods + 2) * 2 * uint64(quota) * 1000; used > most {
		t.Errorf("it used %v in %d periods of %d us, of which it may use %d", time.Duration(used), periods, period, quota)
	}

	b.must("pause", b.id)
	from = b.processor()
	time.Sleep(500 * time.Millisecond)
	if now = b.processor(); now.Usage.Total-from.Usage.Total > uint64(5*time.Millisecond) {
		t.Errorf("paused, it used %v", time.Duration(now.Usage.Total-from.Usage.Total))
	}
	b.must("resume", b.id)
	for deadline := time.Now().Add(time.Minute); b.processor().Usage.Total < now.Usage.Total+uint64(10*time.Millisecond); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not go on")
		}
	}
	b.must("kill", b.id, "KILL")
	b.await("stopped")
}

// TestFewProcesses shows that a guest, which is one process, runs under any limit of
// processes, set before or after its creation, and that the limit is there then.
func TestFewProcesses(t *testing.T) {
	backends(t, func(t *testing.T, target image.Target) {
		for _, limit := range []int64{0, 1, 2, 5, 9} {
			if target == image.HVT && limit < 2 {
				continue // KVM has a thread for the machine
			}
			b := newBox(t, cat(t, target))
			first := int64(100)
			if limit%2 == 0 {
				first = limit
			}
			b.spec.Linux.Resources.Pids = &specs.LinuxPids{Limit: &first}
			b.save()
			_, stdout := b.created()
			if first != limit {
				b.must("update", "--pids-limit", fmt.Sprint(limit), b.id)
			}
			b.must("start", b.id)
			var e struct {
				Data struct{ Pids struct{ Limit uint64 } }
			}
			if err := json.Unmarshal([]byte(b.must("events", "--stats", b.id)), &e); err != nil {
				t.Fatal(err)
			}
			if want := max(uint64(limit), 1); e.Data.Pids.Limit != want { // 0 is 1, as runc has it
				t.Errorf("the limit is %d, want %d", e.Data.Pids.Limit, want)
			}
			awaitOutput(t, stdout, "Solo5:")
			b.must("kill", b.id, "KILL")
			b.await("stopped")
		}
	})
}

// TestTightLimits shows that a limit on the process lets it run, or is an error of one
// line, whatever the runtime needs itself.
func TestTightLimits(t *testing.T) {
	for _, kind := range []string{"AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE", "NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"} {
		for _, limit := range []uint64{0, 1, 1 << 20} {
			t.Run(fmt.Sprint(kind, " ", limit), func(t *testing.T) {
				b := newBox(t, exiting(t, 7))
				b.spec.Process.User = specs.User{UID: 12345, GID: 12345}
				b.spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_" + kind, Hard: limit, Soft: limit}}
				b.save()
				r := b.do("run", b.id)
				if kind == "CPU" && limit == 0 && r.status == 137 {
					return // it may not run at all
				}
				if (r.status != 7 || r.stderr != "") && strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("status %d, %.300q", r.status, r.stderr)
				}
			})
		}
	}
}
