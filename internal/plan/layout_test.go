package plan

import (
	"testing"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestLayout compares the numbers that the stub's source repeats.
func TestLayout(t *testing.T) {
	testhost.Defines(t, "stub_amd64.s", map[string]uint64{
		"BOOT": BootInfo, "WORD": EntryWord, "PLAN": Base, "RECORDS": Base + planHeader, "TASKEND": TaskEnd,
		"SYS_write": unix.SYS_WRITE, "SYS_close": unix.SYS_CLOSE, "EPERM": uint64(unix.EPERM), "ENOSYS": uint64(unix.ENOSYS), "SYS_munmap": unix.SYS_MUNMAP, "SYS_exit_group": unix.SYS_EXIT_GROUP,
	})
}
