package urunc

import (
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/oci/checked"
)

// Open opens a regular file of a rootfs for reading.
func Open(root *os.File, path string) (*os.File, error) {
	return checked.Open(int(root.Fd()), path, checked.Resolve, unix.O_RDONLY, checked.Regular(quote(path)))
}
