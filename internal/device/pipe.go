package device

import (
	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// maxPipe is the capacity in bytes that Widen asks for: what an unprivileged
// process gets by default (/proc/sys/fs/pipe-max-size).
const maxPipe = 1 << 20

// Widen raises the capacity of the pipe fd to at most 1 MiB, as far as the
// kernel's limits let it; it never lowers it. What is not a pipe is left alone.
// The capacity belongs to the pipe, so it stays after the caller is gone.
func Widen(fd int) {
	now, err := raw.Fcntl(fd, unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return
	}
	for size := maxPipe; size > now; size /= 2 {
		if _, err := raw.Fcntl(fd, unix.F_SETPIPE_SZ, size); err != unix.EPERM {
			return
		}
	}
}
