package testhost

import (
	"os"
	"strconv"
	"testing"
	"time"

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

// Shared is what a caller and its children share of an open file: flags, and the
// modes of a terminal.
type Shared struct {
	Flags int
	Modes unix.Termios // zero for anything but a terminal
}

// SharedState reads what f shares.
func SharedState(t testing.TB, f *os.File) Shared {
	t.Helper()
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatalf("F_GETFL: %v", err)
	}
	s := Shared{Flags: flags}
	if modes, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
		s.Modes = *modes
	}
	return s
}

// Expect reads want from f, and nothing else.
func Expect(t testing.TB, f *os.File, want string) {
	t.Helper()
	got := ""
	buf := make([]byte, 4096)
	for start := time.Now(); len(got) < len(want) && time.Since(start) < patience; {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, 1000)
		if ready <= 0 {
			if err != nil && err != unix.EINTR {
				t.Fatal(err)
			}
			continue
		}
		n, err := f.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got += string(buf[:n])
	}
	if got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}
