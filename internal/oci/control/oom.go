package control

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// SetOOMScore sets how readily the kernel kills a process when memory is short.
func SetOOMScore(pid int, score *int) error {
	if score == nil {
		return nil
	}
	path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
	want := strconv.Itoa(*score)
	if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == want {
		return nil // to write it again may take a privilege
	}
	if err := os.WriteFile(path, []byte(want), 0); err != nil {
		return fmt.Errorf("process.oomScoreAdj %s: %w", want, err)
	}
	return nil
}
