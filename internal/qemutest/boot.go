package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// bootTime is what a boot may take beyond the jobs. It takes about ten seconds
// on a quiet machine, half of them to decompress the kernel.
const bootTime = 2 * time.Minute

// boot runs the virtual machine until it powers itself off or the limit has
// passed, and writes its console to w.
func boot(ctx context.Context, qemu string, o *options, image, initrd string, limit time.Duration, w io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errTimeout)
	defer cancel()
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, qemu,
		"-no-user-config", "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio",
		// With a thread for each processor, guests under qemu 7.2's AMD-V sooner or
		// later leave Linux with processors that wait for each other for ever.
		"-accel", "tcg,thread=single", "-cpu", o.cpu+noSMAP, "-smp", "2", "-m", strconv.Itoa(o.memory),
		"-kernel", image, "-initrd", initrd,
		// A kernel that panics reboots, which ends qemu.
		"-append", "console=ttyS0 quiet loglevel=1 panic=-1")
	cmd.Stdout, cmd.Stderr = w, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if ctx.Err() != nil {
		return fmt.Errorf("qemu was stopped: %w", context.Cause(ctx))
	}
	if err != nil {
		// On success these are warnings about features that TCG lacks.
		return fmt.Errorf("qemu: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	return nil
}

var errTimeout = errors.New("it took too long")

// noSMAP leaves SMAP out of the processor: QEMU's IRETQ reads its frame as the
// supervisor does, also where a program executes it, as the timer of Go guests
// does, and SMAP forbids that.
const noSMAP = ",-smap"
