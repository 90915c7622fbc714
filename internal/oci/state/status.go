package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Status is what a container is doing, by the name that the runtime specification
// has for it; paused is a word of runc's.
type Status string

// Statuses.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// Status asks the kernel what the container is doing.
func (c *Container) Status() Status {
	if c.Pid == 0 {
		// While it is created, its directory is locked.
		if c.locked() {
			return Creating
		}
		return Stopped
	}
	if birth, alive := Process(c.Pid); !alive || birth != c.Birth {
		return Stopped
	}
	if c.frozen() {
		return Paused
	}
	if c.waits() {
		return Created
	}
	return Running
}

// locked reports whether another verb changes the container.
func (c *Container) locked() bool {
	fd, err := unix.Open(c.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// Process returns when a process was born, in ticks since boot, and whether it is
// alive: a zombie is not.
func Process(pid int) (birth uint64, alive bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The name, in parentheses, may hold any character.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the third on
	if len(fields) < 20 {
		return 0, false
	}
	birth, err = strconv.ParseUint(fields[19], 10, 64)
	return birth, err == nil && fields[0] != "Z" && fields[0] != "X"
}

// frozen reports whether the container's processes are kept from running.
func (c *Container) frozen() bool {
	if dir := c.Cgroup.Paths["freezer"]; dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, "freezer.state"))
		return err == nil && strings.TrimSpace(string(b)) != "THAWED"
	}
	if dir := c.Cgroup.Paths[""]; dir != "" {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.freeze"))
		return err == nil && strings.TrimSpace(string(b)) == "1"
	}
	return false
}

// socketName is that of the socket on which a container's init waits.
const socketName = "start.sock"

// Listen makes the socket on which the container's init waits to be started.
func (c *Container) Listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), socketName)
	if err := unix.Fchmod(fd, 0o600); err != nil { // the socket's name gets the mode
		f.Close()
		return nil, os.NewSyscallError("fchmod", err)
	}
	err = c.at(func(dir string) error {
		return unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/" + socketName})
	})
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("socket of container %s: %w", c.ID, err)
	}
	return f, nil
}

// at calls f with a short path of the container's directory: the address of a socket
// has room for 107 bytes.
func (c *Container) at(f func(dir string) error) error {
	fd, err := unix.Open(c.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f("/proc/self/fd/" + strconv.Itoa(fd))
}

// connect returns a socket that is connected to that of the container's init.
func (c *Container) connect() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), socketName)
	err = c.at(func(dir string) error {
		return unix.Connect(fd, &unix.SockaddrUnix{Name: dir + "/" + socketName})
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// waits reports whether the container's init waits to be started: when it becomes
// the guest, the socket is closed. It does not notice that somebody looks.
func (c *Container) waits() bool {
	f, err := c.connect()
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Release tells the container's init to become the guest, and waits until it has. The
// error is what init says. It gets a word and files if it waits for those (Await).
//
// The message has one end of a socket, which is closed with the socket that the message
// is in if nobody takes it from there.
func (c *Container) Release(word []byte, files ...*os.File) error {
	to, err := c.connect()
	if err != nil {
		return fmt.Errorf("cannot start a container that has stopped: %w", err)
	}
	defer to.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	answer, theirs := os.NewFile(uintptr(pair[0]), "answer"), os.NewFile(uintptr(pair[1]), "answer")
	defer answer.Close()
	fds := []int{int(theirs.Fd())}
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	err = unix.Sendmsg(int(to.Fd()), word, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
	theirs.Close()
	if err != nil {
		return fmt.Errorf("cannot start a container that has stopped: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(answer, 4096))
	if len(text) > 0 {
		return errors.New(string(text))
	}
	return err
}

// maxWord is the size in bytes of the longest word of Release, and maxFiles the
// most files: those of a guest's devices.
const (
	maxWord  = 64 << 10
	maxFiles = 64
)

// Await waits on the socket of Listen for Release, and calls then with what it sends,
// which returns only on error; that is what Release returns, and Await.
func Await(socket *os.File, then func(word []byte, files []int) error) error {
	word := make([]byte, maxWord)
	control := make([]byte, unix.CmsgSpace(4*(1+maxFiles)))
	for {
		n, cn, _, _, err := unix.Recvmsg(int(socket.Fd()), word, control, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvmsg", err)
		}
		fds := rights(control[:cn])
		if len(fds) == 0 {
			continue
		}
		err = then(word[:n], fds[1:])
		unix.Write(fds[0], []byte(err.Error()))
		return err
	}
}

// rights are the descriptors that came with a message.
func rights(control []byte) (fds []int) {
	all, _ := unix.ParseSocketControlMessage(control)
	for i := range all {
		some, _ := unix.ParseUnixRights(&all[i])
		fds = append(fds, some...)
	}
	return fds
}
