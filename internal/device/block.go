package device

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// openBlock opens the file or block device at d.Path for reading and writing
// and measures it.
func (d *Device) openBlock() error {
	// Opening is not harmless for everything that a path may name (a tape
	// rewinds, a watchdog starts), so look first.
	var st unix.Stat_t
	if err := raw.Stat(d.Path, &st); err != nil {
		return blockError(d.Path, err)
	}
	if err := checkDisk(d.Path, st.Mode); err != nil {
		return err
	}
	fd, err := raw.Open(d.Path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOCTTY)
	if err != nil {
		return blockError(d.Path, err)
	}
	if fd, err = aboveStdio(fd); err != nil {
		return err
	}
	if err := d.measure(fd); err != nil {
		raw.Close(fd)
		return err
	}
	d.FD, d.Kind, d.Writable = fd, Disk, true
	return nil
}

// inheritBlock checks and measures the inherited descriptor d.FD.
func (d *Device) inheritBlock(allowCloexec bool) (err error) {
	if err := comesFromCaller(d.FD, allowCloexec); err != nil {
		return err
	}
	if d.Writable, err = access(d.FD); err != nil {
		return err
	}
	d.Path = raw.Concat("@", raw.Decimal(uint64(d.FD)))
	defer func() { d.Path = "" }()
	if err := d.measure(d.FD); err != nil {
		return err
	}
	d.Kind = Disk
	return nil
}

// measure sets Capacity and BlockSize from the open fd.
func (d *Device) measure(fd int) error {
	var st unix.Stat_t
	if err := raw.Fstat(fd, &st); err != nil {
		return blockError(d.Path, err)
	}
	if err := checkDisk(d.Path, st.Mode); err != nil {
		return err
	}
	end, err := raw.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		return fmt.Errorf("%q: cannot determine capacity: %w", d.Path, err)
	}
	if d.BlockSize == 0 {
		d.BlockSize = minSector
	}
	d.Capacity = uint64(end)
	switch size := uint64(d.BlockSize); {
	case d.Capacity%size != 0:
		return fmt.Errorf("%q: Backing storage size must be block aligned (%d bytes), it is %d bytes", d.Path, size, end)
	case d.Capacity < size:
		return fmt.Errorf("%q: Backing storage must be at least 1 block (%d bytes) in size, it is %d bytes", d.Path, size, end)
	}
	return nil
}

func checkDisk(path string, mode uint32) error {
	what := ""
	switch mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFBLK:
		return nil
	case unix.S_IFDIR:
		what = "a directory"
	case unix.S_IFIFO:
		what = "a FIFO"
	case unix.S_IFSOCK:
		what = "a socket"
	case unix.S_IFCHR:
		what = "a character device"
	default:
		what = "something else"
	}
	return fmt.Errorf("%q is %s; want a regular file or a block device", path, what)
}

func blockError(path string, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT):
		hint = "; make it first, say with truncate -s 1M"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = "; a block device needs permission to read and to write"
	case errors.Is(err, unix.EROFS):
		hint = "; a block device is opened for reading and writing"
	case errors.Is(err, unix.ETXTBSY):
		hint = "; a program that is running cannot be written to"
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOMEDIUM):
		hint = "; there is no device or no medium behind it"
	}
	return fmt.Errorf("cannot open %q for reading and writing: %w%s", path, err, hint)
}
