package compare

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// usage is what a process has used so far.
type usage struct {
	ran     time.Duration // processor time, the guest's included
	waited  time.Duration // for a processor, ready to run
	reads   int64         // read system calls; -1 if the kernel does not say
	precise bool          // to nanoseconds, and waited is known
}

// clockTick is the unit of times in /proc/PID/stat. The kernel has it in the
// auxiliary vector (AT_CLKTCK), and on x86 it is always this.
const clockTick = 10 * time.Millisecond

// measure reads the usage of a process from /proc. It is zero for one that has
// ended.
//
// Time spent waiting for a processor counts as busy, so that a guest that spins
// on a loaded machine is not mistaken for one that is blocked.
func measure(pid int) usage {
	dir := "/proc/" + strconv.Itoa(pid)
	u := usage{reads: -1}
	// For each thread: nanoseconds run, nanoseconds waited, times scheduled.
	threads, _ := filepath.Glob(dir + "/task/*/schedstat")
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if f := bytes.Fields(b); err == nil && len(f) == 3 {
			u.ran += time.Duration(number(f[0]))
			u.waited += time.Duration(number(f[1]))
			u.precise = true
		}
	}
	if !u.precise {
		u.ran = ticks(dir)
	}
	b, _ := os.ReadFile(dir + "/io")
	for line := range bytes.Lines(b) {
		if n, ok := bytes.CutPrefix(line, []byte("syscr: ")); ok {
			u.reads = number(bytes.TrimSpace(n))
		}
	}
	return u
}

// runnable reports whether a thread of a process runs, waits for a processor, or
// cannot be interrupted. The time waited is told only when the wait is over.
func runnable(pid int) bool {
	threads, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
	for _, thread := range threads {
		b, err := os.ReadFile(thread)
		if f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]); err == nil && len(f) > 0 && (f[0][0] == 'R' || f[0][0] == 'D') {
			return true
		}
	}
	return false
}

// ticks reads a process's time in user mode, which includes a guest's, and in
// the kernel.
func ticks(dir string) time.Duration {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0
	}
	// The second field is the name in parentheses, and may contain anything.
	// utime and stime are fields 14 and 15.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0
	}
	return time.Duration(number(f[11])+number(f[12])) * clockTick
}

func number(b []byte) int64 {
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}
