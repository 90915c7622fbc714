package helper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
)

// namespaces are those that the serving process gets where the host lets it. The
// network stays the host's: connecting guests to it is what the process is for.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// nobody is the user that the kernel shows for one whom a namespace does not know.
const nobody = 65534

// launch starts gocat-net serve in a session of its own, so that what a terminal
// sends to the guest does not end it first, and returns a connection to it.
// Listener, unless nil, is where other guests come to. With users the process has
// to know its own user from others. Together says why the process has no namespaces
// of its own, and is empty if it has.
func launch(listener *os.File, users bool) (c *net.UnixConn, together string, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, "", os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		unix.Close(pair[0])
		return nil, "", err
	}
	defer null.Close()
	files := []*os.File{null, null, null, theirs}
	if listener != nil {
		files = append(files, listener)
	}
	attempts, together := separate(users)
	for _, sys := range attempts {
		var p *os.Process
		p, err = os.StartProcess("/proc/self/exe", []string{"gocat-net", "serve"}, &os.ProcAttr{Dir: "/", Env: []string{}, Files: files, Sys: sys})
		if err == nil {
			p.Release()
			c, err = unixConn(uintptr(pair[0]))
			return c, together, err
		}
		together = reason(isolate.ThisHost(""), isolate.UserNS, errnoOf(err)).Error()
	}
	unix.Close(pair[0])
	return nil, "", fmt.Errorf("could not start the user network's process: %w", err)
}

// separate is how the serving process is started: apart from its host by namespaces,
// or, where that fails, without. Together says why the first is left out, if so.
func separate(users bool) (attempts []*syscall.SysProcAttr, together string) {
	id := os.Geteuid()
	apart := &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces, AmbientCaps: []uintptr{unix.CAP_SYS_CHROOT}}
	if users {
		apart.UidMappings = []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
	}
	attempts = []*syscall.SysProcAttr{apart, {Setsid: true}}
	if users && id == nobody {
		return attempts[1:], "a user namespace shows user 65534 for all that it does not know, so that this user's guests could not be told from others'; run guests of a shared network as another user"
	}
	return attempts, ""
}

// errnoOf is the error number in an error, EPERM if it has none.
func errnoOf(err error) unix.Errno {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EPERM
}
