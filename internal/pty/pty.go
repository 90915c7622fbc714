// Package pty makes pseudoterminals.
package pty

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Open makes a pseudoterminal and returns both sides, open for reading and
// writing with the given flags of open(2), and never the caller's controlling
// terminal. The descriptors are the caller's to close.
func Open(flags int) (master, slave int, err error) {
	flags |= unix.O_RDWR | unix.O_NOCTTY
	if master, err = unix.Open("/dev/ptmx", flags, 0); err != nil {
		return -1, -1, fmt.Errorf("open /dev/ptmx: %w", err)
	}
	if slave, err = openSlave(master, flags); err != nil {
		unix.Close(master)
		return -1, -1, err
	}
	return master, slave, nil
}

func openSlave(master, flags int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, fmt.Errorf("TIOCSPTLCK: %w", err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, fmt.Errorf("TIOCGPTN: %w", err)
	}
	name := "/dev/pts/" + strconv.Itoa(n)
	slave, err := unix.Open(name, flags, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return slave, nil
}

// SetRaw makes a terminal pass every byte on as it is.
func SetRaw(fd int) error {
	return change(fd, func(a *unix.Termios) {
		a.Iflag, a.Oflag, a.Lflag = 0, 0, 0
		a.Cc[unix.VMIN], a.Cc[unix.VTIME] = 1, 0
	})
}

// SetCanonical makes a raw terminal collect lines, which end with ^D as well,
// and send signals on ^C and ^\. Nothing is echoed.
func SetCanonical(fd int) error {
	return change(fd, func(a *unix.Termios) { a.Lflag = unix.ICANON | unix.ISIG })
}

func change(fd int, f func(*unix.Termios)) error {
	a, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("TCGETS: %w", err)
	}
	f(a)
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, a); err != nil {
		return fmt.Errorf("TCSETS: %w", err)
	}
	return nil
}
