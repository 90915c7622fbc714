package testhost

import (
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// PTY makes a pseudoterminal and returns both sides, open for reading and
// writing without FD_CLOEXEC, as a caller would pass them on. They are closed
// when t ends.
func PTY(t testing.TB) (master, slave int) {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		Skip(t, "no pseudoterminals: open /dev/ptmx: "+err.Error())
	}
	t.Cleanup(func() { unix.Close(master) })
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatalf("TIOCSPTLCK: %v", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatalf("TIOCGPTN: %v", err)
	}
	slave, err = unix.Open("/dev/pts/"+strconv.Itoa(n), unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("open /dev/pts/%d: %v", n, err)
	}
	t.Cleanup(func() { unix.Close(slave) })
	return master, slave
}
