package seccomp

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNames(t *testing.T) {
	for name, nr := range map[string]uint32{
		"read": unix.SYS_READ, "write": unix.SYS_WRITE, "_sysctl": unix.SYS__SYSCTL, "rseq": unix.SYS_RSEQ,
		"pidfd_send_signal": unix.SYS_PIDFD_SEND_SIGNAL, "listns": unix.SYS_LISTNS,
	} {
		if got := SyscallName(nr); got != name {
			t.Errorf("SyscallName(%d) = %q, want %q", nr, got, name)
		}
		if got, ok := SyscallNumber(name); !ok || got != nr {
			t.Errorf("SyscallNumber(%q) = %d, %v, want %d", name, got, ok, nr)
		}
	}
	for _, nr := range []uint32{400, 600, x32Bit, 1<<32 - 1} { // 400 is a gap in the table
		if got := SyscallName(nr); got != "" {
			t.Errorf("SyscallName(%d) = %q, want none", nr, got)
		}
	}
	for _, name := range []string{"", "reads", "rea", "read\x00write"} {
		if got, ok := SyscallNumber(name); ok {
			t.Errorf("SyscallNumber(%q) = %d, want none", name, got)
		}
	}
}

// TestNameTable walks the table as its documentation says.
func TestNameTable(t *testing.T) {
	table := bytes.Split([]byte(NameTable()), []byte{0})
	if last := table[len(table)-1]; len(last) != 0 {
		t.Errorf("the last name, %q, is not terminated", last)
	}
	if len(table) < unix.SYS_RSEQ_SLICE_YIELD+2 {
		t.Errorf("%d names, want %d at least", len(table)-1, unix.SYS_RSEQ_SLICE_YIELD+1)
	}
	for nr, name := range table {
		if string(name) != SyscallName(uint32(nr)) {
			t.Errorf("entry %d is %q, and SyscallName says %q", nr, name, SyscallName(uint32(nr)))
		}
		if got, ok := SyscallNumber(string(name)); len(name) > 0 && (!ok || got != uint32(nr)) {
			t.Errorf("SyscallNumber(%q) = %d, %v, want %d", name, got, ok, nr)
		}
	}
}
