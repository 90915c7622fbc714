package testhost

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Mapping is a line of /proc/PID/maps.
type Mapping struct {
	Start, End uint64
	Prot       string // "r-xp"
	Name       string
}

// Maps reads the mappings of a process.
func Maps(t testing.TB, pid int) []Mapping {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []Mapping
	for line := range strings.Lines(string(b)) {
		var m Mapping
		var offset, dev, inode string
		n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &m.Start, &m.End, &m.Prot, &offset, &dev, &inode, &m.Name)
		if n < 6 {
			t.Fatalf("maps of process %d: %q", pid, line)
		}
		all = append(all, m)
	}
	return all
}
