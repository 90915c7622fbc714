package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/doctor"
)

// Host is the machine that was measured.
type Host struct {
	Kernel     string    `json:"kernel"` // name and release
	CPU        string    `json:"cpu"`
	CPUs       int       `json:"cpus"` // that this process may use
	KVM        string    `json:"kvm"`  // which one, in words
	LoadBefore [3]string `json:"load_before"`
	LoadAfter  [3]string `json:"load_after"` // averages over 1, 5 and 15 minutes
}

func describeHost() Host {
	h := Host{Kernel: "Linux", CPU: "unknown", CPUs: runtime.NumCPU(), LoadBefore: load()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.Kernel += " " + unix.ByteSliceToString(name.Release[:])
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				h.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	kvm := (&doctor.Host{Root: "/"}).KVM()
	h.KVM = kvm.Found
	if kvm.Means != "" {
		h.KVM += ": " + kvm.Means
	}
	return h
}

// String is the host in a line.
func (h Host) String() string {
	plural := "s"
	if h.CPUs == 1 {
		plural = ""
	}
	return fmt.Sprintf("%s, %s, %d processor%s", h.Kernel, h.CPU, h.CPUs, plural)
}

// Load is the load in words, before and after.
func (h Host) Load() string {
	return fmt.Sprintf("%s before (1, 5, 15 minutes), %s after", strings.Join(h.LoadBefore[:], " "), strings.Join(h.LoadAfter[:], " "))
}

// load is the host's load averages.
func load() (l [3]string) {
	b, _ := os.ReadFile("/proc/loadavg")
	copy(l[:], strings.Fields(string(b)))
	return l
}
