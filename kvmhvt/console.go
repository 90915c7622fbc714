package kvmhvt

import (
	"golang.org/x/sys/unix"
)

// console is where the guest's output goes.
type console struct {
	fd    int
	waits *waitSet
}

// write writes all of b. It waits for as long as a full pipe or a stopped
// terminal takes nothing, also when someone else made it non-blocking.
func (c *console) write(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		switch err {
		case nil:
			b = b[n:]
		case unix.EINTR:
			if c.waits.ending != nil && c.waits.ending.Load() {
				return errEnding
			}
		case unix.EAGAIN:
			if err := c.waits.writable(c.fd); err != nil {
				return err
			}
		case unix.EPIPE:
			return brokenPipe("console")
		default:
			return stopf("Could not write to the console: %v", err)
		}
	}
	return nil
}
