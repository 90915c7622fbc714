package isolate

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// Group is a control group of version 2 that a guest's process enters, and the
// limits that are set for it before. Whoever made it removes it: when the guest
// has ended, gocat is gone or can no longer open anything.
type Group struct {
	Dir    string // its directory
	Memory uint64 // bytes; 0 leaves memory.max as it is
	CPU    uint64 // percent of one processor; 0 leaves cpu.max as it is
}

// cpuPeriod is the period of cpu.max in microseconds.
const cpuPeriod = 100000

// SetGroup reads DIR[,memory=MB][,cpu=PERCENT].
func (c *Config) SetGroup(v string) error {
	dir, settings, more := strings.Cut(v, ",")
	c.Group = Group{Dir: dir}
	for more {
		var setting string
		setting, settings, more = strings.Cut(settings, ",")
		name, value, _ := strings.Cut(setting, "=")
		n, err := strconv.ParseUint(value, 10, 32)
		switch {
		case err != nil || n == 0:
			return errGroup(v)
		case name == "memory" && c.Group.Memory == 0:
			c.Group.Memory = n << 20
		case name == "cpu" && c.Group.CPU == 0:
			c.Group.CPU = n
		default:
			return errGroup(v)
		}
	}
	if dir == "" || strings.IndexByte(dir, 0) >= 0 {
		return errGroup(v)
	}
	c.Require |= Of(Cgroup)
	return nil
}

// errGroup says what --cgroup takes.
func errGroup(v string) error {
	return fmt.Errorf("%q: want DIR[,memory=MB][,cpu=PERCENT], of a control group that exists and numbers from 1", v)
}

// Settings lists what a process must write to enter the group, in this order:
// the names of files in its directory, and a line for each, which reads back as
// it was written, except the last. Nothing else in the group is changed.
func (g *Group) Settings() [][2]string {
	w := raw.Slice[[2]string](0, 3)
	if g.Memory != 0 {
		w = append(w, [2]string{"memory.max", raw.Concat(raw.Decimal(g.Memory), "\n")})
	}
	if g.CPU != 0 {
		w = append(w, [2]string{"cpu.max", raw.Concat(raw.Decimal(g.CPU*(cpuPeriod/100)), " ", raw.Decimal(cpuPeriod), "\n")})
	}
	return append(w, [2]string{procs, "0\n"}) // 0 is who writes it
}

// What is opened in the directory is neither a link nor waited for, and has to be
// of the kernel's own file system, in which nobody else makes files.
const (
	groupDirFlags  = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
	groupFileFlags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	statfsSize     = 120 // of struct statfs, which f_type begins
)

// Reasons why a directory is no control group, or one that cannot be used.
const (
	notGroup   = "it is not a directory of control groups of version 2 (mount -t cgroup2; findmnt -t cgroup2 lists where they are)"
	notAsSet   = "a limit does not read back as it was set"
	notAMember = "the process is not in it afterwards"
)

// Enter moves the process into the group and sets its limits, all of which it
// reads back. It returns why that failed: words, or else an error number for
// Reason.
func (g *Group) Enter() (why string, errno unix.Errno) {
	number := func(err error) unix.Errno { e, _ := err.(unix.Errno); return e }
	dir, err := raw.Open(g.Dir, groupDirFlags)
	if err != nil {
		return "", number(err)
	}
	defer raw.Close(dir)
	for _, s := range g.Settings() {
		if why, err := set(dir, s[0], s[1]); why != "" || err != nil {
			return why, number(err)
		}
	}
	return "", 0
}

// set writes line to a file of the group whose directory is open.
func set(dir int, name, line string) (why string, err error) {
	if kind, err := raw.FileSystem(dir); err != nil || kind != unix.CGROUP2_SUPER_MAGIC {
		return notGroup, err
	}
	fd, err := raw.OpenAt(dir, name, groupFileFlags)
	if err != nil {
		return "", err
	}
	defer raw.Close(fd)
	if kind, err := raw.FileSystem(fd); err != nil || kind != unix.CGROUP2_SUPER_MAGIC {
		return notGroup, err
	}
	if n, err := raw.Write(fd, raw.Bytes(line)); err != nil || n != len(line) {
		return Answered, err
	}
	if name == procs {
		return member(fd)
	}
	got := raw.Slice[byte](64, 64)
	n, err := raw.Pread(fd, got, 0)
	if err != nil || raw.String(got[:max(n, 0)]) != line {
		return notAsSet, err
	}
	return "", nil
}

// procs is the file of a group's processes.
const procs = "cgroup.procs"

// member says whether this process is in the group whose list of processes is
// open. A group that holds threads has no list that can be read.
func member(fd int) (why string, err error) {
	self := unix.Getpid()
	buf := raw.Slice[byte](4096, 4096)
	pid := 0
	for off := int64(0); ; {
		n, err := raw.Pread(fd, buf, off)
		if err == unix.EOPNOTSUPP {
			return "", nil
		}
		if err != nil || n <= 0 {
			return notAMember, err
		}
		for _, c := range buf[:n] {
			switch {
			case '0' <= c && c <= '9':
				pid = 10*pid + int(c-'0')
			case pid == self:
				return "", nil
			default:
				pid = 0
			}
		}
		off += int64(n)
	}
}
