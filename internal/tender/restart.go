package tender

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"gocat/internal/device"
	"gocat/internal/raw"
	"gocat/kvmhvt"
)

// Entry is the address of the program's own entry point (package raw), or 0. The
// program sets it when it has started ordinarily.
var Entry uintptr

// restarted is the environment variable by which a program knows that it was
// started again.
const restarted = device.HandedVariable

// restart replaces the process by the same program, which runs the guest before
// the Go runtime is initialised. So an ordinary start only ever finds errors: it
// is what happens where something is unusual, such as a standard descriptor that
// is closed, a user network, or where the program was not linked with its entry
// point. The descriptors in keep that are not kvmhvt.NoFD and the user networks of
// the devices are handed on. It returns only on error.
func restart(devices []device.Device, keep ...int) error {
	if os.Getenv(restarted) != "" {
		return errors.New("the Go runtime was started beside an hvt guest, which is a defect: please report it with the command line")
	}
	path, err := withEntry()
	if err != nil {
		return fmt.Errorf("start gocat again: %w", err)
	}
	for _, fd := range keep {
		if fd != kvmhvt.NoFD {
			raw.Fcntl(fd, unix.F_SETFD, 0)
		}
	}
	handed := device.NewHanded
	for i := range devices {
		if d := &devices[i]; d.User != nil {
			raw.Fcntl(d.FD, unix.F_SETFD, 0)
			handed = handed.Hand(d)
		}
	}
	err = syscall.Exec(path, os.Args, append(os.Environ(), restarted+"="+string(handed)))
	return fmt.Errorf("start gocat again: %w", err)
}

// withEntry returns the path of this program, started by its entry point: a copy
// in memory, where the program was linked with Go's.
func withEntry() (string, error) {
	const self = "/proc/self/exe"
	exe, err := unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w: an hvt guest takes /proc here", self, err)
	}
	defer unix.Close(exe)
	const entryOffset = 24 // e_entry of Elf64_Ehdr
	var head [entryOffset + 8]byte
	if n, err := unix.Pread(exe, head[:], 0); n < len(head) || Entry == 0 {
		return "", errors.Join(errors.New("it has no entry point of its own"), err)
	}
	if now := uintptr(binary.LittleEndian.Uint64(head[entryOffset:])); now == Entry || now == SealedEntry {
		return self, nil
	}
	fd, err := unix.MemfdCreate("gocat", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3 all of them can be executed
		fd, err = unix.MemfdCreate("gocat", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return "", fmt.Errorf("memfd_create: %w: link it with -ldflags='-E main.entry', as make build does", err)
	}
	for {
		n, err := unix.Sendfile(fd, exe, nil, 1<<30)
		if err != nil {
			return "", fmt.Errorf("copy %s: %w", self, err)
		}
		if n == 0 {
			break
		}
	}
	binary.LittleEndian.PutUint64(head[:], uint64(Entry))
	if _, err := unix.Pwrite(fd, head[:8], entryOffset); err != nil {
		return "", fmt.Errorf("copy %s: %w", self, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}
