package main

import (
	"errors"

	"golang.org/x/sys/unix"
)

// errPrivileged is why a copy of gocat with privileges of its own does nothing: it
// would open the files that its user names with them.
var errPrivileged = errors.New("this copy of gocat has privileges that its user has not: chmod u-s,g-s and setcap -r take them away")

// checkPrivileges refuses to be a set-user-ID or set-group-ID program, or one with
// file capabilities. Capabilities that the user handed on (ambient ones) are not
// gocat's.
func checkPrivileges() error {
	if unix.Getuid() != unix.Geteuid() || unix.Getgid() != unix.Getegid() {
		return errPrivileged
	}
	if unix.Getuid() == 0 {
		return nil
	}
	var have [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &have[0]); err != nil {
		return nil // it is forbidden, so that nobody knows
	}
	for n := range unix.CAP_LAST_CAP + 1 {
		if have[n/32].Permitted>>(n%32)&1 == 0 {
			continue
		}
		if ambient, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(n), 0, 0); err == nil && ambient == 0 {
			return errPrivileged
		}
	}
	return nil
}
