package debug

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"gocat/internal/core"
	"gocat/internal/tender"
)

// dumpCalls are the system calls that writing a core file needs.
var dumpCalls = []string{"openat", "pwrite64", "pread64", "ftruncate", "unlinkat", "fstat", "lseek", "newfstatat"}

// dumper writes a core file when the guest ends badly.
type dumper struct {
	target target
	guest  string // name of the unikernel
	kernel string // its file
	prog   string // that speaks
	name   string // of the directory
	dir    int    // the same, open
	max    int64  // bytes of contents, 0 for no limit
}

// newDumper opens the directory before the confinement.
func newDumper(g *tender.Guest, t target) (*dumper, error) {
	dir, err := unix.Open(g.DumpCore, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("--dumpcore: could not open the directory %s: %w", g.DumpCore, err)
	}
	if err := unix.Faccessat(dir, ".", unix.W_OK|unix.X_OK, 0); err != nil {
		unix.Close(dir)
		return nil, fmt.Errorf("--dumpcore: could not write in the directory %s: %w", g.DumpCore, err)
	}
	d := &dumper{target: t, guest: g.Name, kernel: filepath.Base(path(g)), prog: g.Prog, name: g.DumpCore, dir: dir, max: g.DumpMax}
	return d, nil
}

// Exit statuses of guests that give up.
const (
	abort = 255 // SOLO5_EXIT_ABORT
	crash = 128 + int(unix.SIGABRT)
)

// end writes a core file if the guest aborts, faults, makes a forbidden call or is told
// to quit. The guest ends the same way whether or not that works.
func (d *dumper) end(status, signal int) {
	registers := d.target.Registers
	switch {
	case signal != 0:
		registers = d.target.FaultRegisters
	case status == crash:
		signal = int(unix.SIGABRT)
	case status != abort:
		return
	}
	regs, err := registers()
	if err != nil {
		return
	}
	name := "core.solo5." + d.guest + "." + strconv.Itoa(d.target.PID())
	prog := "gocat"
	if d.prog != "" {
		prog, name = d.prog, "core.solo5-hvt."+strconv.Itoa(d.target.PID())
	}
	size, err := d.write(name, &core.Guest{PID: d.target.PID(), Name: d.kernel, Signal: signal, Registers: regs, AVX: d.target.AVX(), Read: d.target.ReadMemory})
	if err != nil {
		tender.Say(fmt.Sprintf("%s: could not dump the guest's core to %s/%s: %v", prog, d.name, name, err))
		return
	}
	tender.Say(fmt.Sprintf("%s: dumped the guest's core, %d KiB: %s/%s", prog, size>>10, d.name, name))
}

// write creates the file, which must not exist before. It returns how much room
// the file takes. An incomplete file is removed.
func (d *dumper) write(name string, g *core.Guest) (size int64, err error) {
	if g.Regions, err = d.target.Memory(); err != nil {
		return 0, err
	}
	fd, err := unix.Openat(d.dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := core.Write(f, g, d.max); err != nil {
		unix.Unlinkat(d.dir, name, 0)
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return 0, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Blocks * 512, nil
}
