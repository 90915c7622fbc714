package tender

import (
	"errors"
	"fmt"

	"gocat/internal/device"
	"gocat/internal/image"
	"gocat/internal/plan"
	"gocat/kvmhvt"
)

// Mend adds the option that fixes it to an error of a library, since libraries
// know of no command line. A nil error stays nil.
func (g *Guest) Mend(err error) error {
	if err == nil {
		return nil
	}
	var memory *image.MemoryError
	var missing *device.NotAttachedError
	var unmapped *kvmhvt.MemoryError
	switch {
	case errors.As(err, &memory) && memory.Need != 0:
		return fmt.Errorf("%w: give at least --mem=%d", err, memory.Need/image.MB)
	case errors.As(err, &unmapped):
		return fmt.Errorf("%w: give less with --mem", err)
	case errors.As(err, &missing):
		return g.mendMissing(err, missing.Devices)
	case errors.Is(err, device.ErrRandomMAC):
		return fmt.Errorf("%w: set one with --net-mac", err)
	case errors.Is(err, device.ErrNowhere):
		return fmt.Errorf("%w: give one with --net NAME=user", err)
	case errors.Is(err, plan.ErrNoExec):
		return fmt.Errorf("%w: use gocat seal and run its output", err)
	}
	return err
}

// mendMissing adds the options that attach devices, or says that such an option
// stands among the guest's arguments.
func (g *Guest) mendMissing(err error, devices []device.Declared) error {
	if g.Prog != "" { // it has words of its own
		return err
	}
	if arg := g.misplaced(); arg != "" {
		return fmt.Errorf("%w; options go before the unikernel, and %s comes after it: gocat run %s %s", err, arg, arg, g.Kernel)
	}
	text := ": give"
	for _, d := range devices {
		if d.Type == image.Block {
			text += " --block " + d.Name + "=PATH"
		} else {
			text += " --net " + d.Name + "=IFACE|@FD|user"
		}
	}
	return fmt.Errorf("%w%s", err, text)
}
