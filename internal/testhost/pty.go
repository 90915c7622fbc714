package testhost

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/pty"
)

// PTY makes a pseudoterminal and returns both sides, open for reading and
// writing without FD_CLOEXEC, as a caller would pass them on. They are closed
// when t ends.
func PTY(t testing.TB) (master, slave int) {
	t.Helper()
	master, slave, err := pty.Open(0)
	if err != nil {
		Skip(t, "no pseudoterminals: "+err.Error())
	}
	t.Cleanup(func() { unix.Close(master) })
	t.Cleanup(func() { unix.Close(slave) })
	return master, slave
}

// RawPTY makes a pseudoterminal that passes every byte on as it is, with
// FD_CLOEXEC; both sides are closed when t ends.
func RawPTY(t testing.TB) (master, slave *os.File) {
	t.Helper()
	m, s := PTY(t)
	if err := pty.SetRaw(s); err != nil {
		t.Fatal(err)
	}
	return Dup(t, m), Dup(t, s)
}

// SetCanonical makes a raw terminal collect lines, which end with ^D as well,
// and send signals on ^C and ^\.
func SetCanonical(t testing.TB, slave *os.File) {
	t.Helper()
	if err := pty.SetCanonical(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
}

// Dup returns a descriptor of its own for the open file of fd, with FD_CLOEXEC, closed
// when t ends.
func Dup(t testing.TB, fd int) *os.File {
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
	for start := time.Now(); len(got) < len(want) && time.Since(start) < processTimeout; {
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
