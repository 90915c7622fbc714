package testhost

import (
	"os"
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

// RawPTY makes a pseudoterminal that passes every byte on as it is, with
// FD_CLOEXEC; both sides are closed when t ends.
func RawPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	m, s := PTY(t)
	setTermios(t, s, func(a *unix.Termios) {
		a.Iflag, a.Oflag, a.Lflag = 0, 0, 0
		a.Cc[unix.VMIN], a.Cc[unix.VTIME] = 1, 0
	})
	return dup(t, m), dup(t, s)
}

// SetCanonical makes a raw terminal collect lines, which end with ^D as well,
// and send signals on ^C and ^\.
func SetCanonical(t testing.TB, slave *os.File) {
	t.Helper()
	setTermios(t, int(slave.Fd()), func(a *unix.Termios) { a.Lflag = unix.ICANON | unix.ISIG })
}

func setTermios(t testing.TB, fd int, change func(*unix.Termios)) {
	t.Helper()
	a, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatalf("TCGETS: %v", err)
	}
	change(a)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, a); err != nil {
		t.Fatalf("TCSETS: %v", err)
	}
}

func dup(t testing.TB, fd int) *os.File {
	t.Helper()
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatalf("F_DUPFD_CLOEXEC: %v", err)
	}
	return File(t, n)
}
