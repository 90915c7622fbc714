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
		n, errno := writeOnce(c.fd, b)
		switch errno {
		case 0:
			b = b[min(max(n, 0), len(b)):]
		case unix.EINTR:
		case unix.EAGAIN:
			if err := c.waits.writable(c.fd); err != nil {
				return err
			}
		case unix.EPIPE:
			return brokenPipe("console")
		default:
			return because("Could not write to the console: ").errno(errno).err()
		}
	}
	return nil
}
