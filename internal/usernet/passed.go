package usernet

import (
	"fmt"
	"strconv"

	"gocat/internal/device"
)

// Passed says how many sockets a service manager has passed to process pid, from
// descriptor device.FirstPassed on, as sd_listen_fds(3) reads it: none if the variables
// are not there or are for another process. At most most can be used.
func Passed(getenv func(string) string, pid, most int) (n int, err error) {
	whose, count := getenv("LISTEN_PID"), getenv("LISTEN_FDS")
	if whose == "" || count == "" {
		return 0, nil
	}
	if p, err := strconv.Atoi(whose); err != nil || p <= 0 {
		return 0, fmt.Errorf("LISTEN_PID=%.20q: want the number of a process", whose)
	} else if p != pid {
		return 0, nil
	}
	n, err = strconv.Atoi(count)
	switch {
	case err != nil || n < 0:
		return 0, fmt.Errorf("LISTEN_FDS=%.20q: want a number of sockets", count)
	case n > most:
		return 0, fmt.Errorf("LISTEN_FDS=%d: the guest takes %d: pass one socket for each --publish", n, most)
	}
	return n, nil
}

// passedVariables are those that gocat-net start gets of this process's environment.
var passedVariables = [...]string{"LISTEN_PID", "LISTEN_FDS", device.BootVariable}
