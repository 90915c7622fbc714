package tender

import (
	"fmt"
	"strings"

	"gocat/internal/raw"
	"gocat/seccomp"
)

// blame adds to an error which system call failed and who may refuse it, where that
// is a filter around gocat, as those of containers. A nil error stays nil.
func blame(err error) error {
	nr, refused := raw.Refused(err)
	if !refused || strings.Contains(err.Error(), "seccomp filter") {
		return err
	}
	return fmt.Errorf("%w: %s%s", err, seccomp.SyscallName(nr), raw.MayRefuse)
}
