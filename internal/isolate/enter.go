package isolate

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Variable is the environment variable by which a gocat that was started again,
// to be in a user namespace, knows that: it is an error number, or 0. Whoever
// sets it himself goes without that layer and no worse.
const Variable = "GOCAT_USERNS"

// Tried reports whether gocat was started again.
func Tried() bool { return os.Getenv(Variable) != "" }

// Entered reports whether the process is in a user namespace that has no users,
// as spt.Enter makes it. Nobody else's has none.
func Entered() bool {
	if !Tried() {
		return false
	}
	fd, err := unix.Open("/proc/self/uid_map", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, make([]byte, 1))
	return n == 0 && err == nil
}

// EnterError says why the process is not in a user namespace of its own.
func EnterError() error {
	n, err := strconv.ParseUint(os.Getenv(Variable), 10, 12)
	if err != nil || n == 0 {
		return errors.New("gocat was not started again")
	}
	return unix.Errno(n)
}

// Failed records that gocat cannot be started again.
func Failed(e unix.Errno) { os.Setenv(Variable, strconv.Itoa(int(e))) }

// Privileged reports whether this thread has CAP_SYS_ADMIN.
func Privileged() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	err := unix.Capget(&header, &data[0])
	return err == nil && data[0].Effective>>unix.CAP_SYS_ADMIN&1 != 0
}
