package device

import (
	"fmt"

	"golang.org/x/sys/unix"

	"gocat/internal/raw"
)

// inherit checks the inherited descriptor d.FD and sets Kind, Writable and MTU.
// It changes nothing about the descriptor, except settings that a tap's last
// user may have left.
func (d *Device) inherit(allowCloexec bool) error {
	if err := comesFromCaller(d.FD, allowCloexec); err != nil {
		return err
	}
	var err error
	if d.Writable, err = access(d.FD); err != nil {
		return err
	}
	if d.Kind, err = classify(d.FD); err != nil {
		return err
	}
	if d.Kind == Tap {
		if err := settleTap(d.FD); err != nil {
			return fmt.Errorf("descriptor %d, a tap: %w", d.FD, err)
		}
	}
	if d.MTU == 0 {
		d.MTU = DefaultMTU
		if d.Kind == Tap {
			d.MTU = inheritedMTU(d.FD)
		}
	}
	return nil
}

// comesFromCaller refuses a descriptor that the caller cannot have left open.
func comesFromCaller(fd int, allowCloexec bool) error {
	flags, err := raw.Fcntl(fd, unix.F_GETFD, 0)
	if err != nil {
		return fmt.Errorf("descriptor %d is not open", fd)
	}
	if flags&unix.FD_CLOEXEC != 0 && !allowCloexec {
		return fmt.Errorf("descriptor %d is not open in the caller: here it is close-on-exec, so not inherited", fd)
	}
	return nil
}

// access refuses a descriptor that cannot be read, and says whether it can be
// written.
func access(fd int) (writable bool, err error) {
	flags, err := raw.Fcntl(fd, unix.F_GETFL, 0)
	if err != nil {
		return false, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if flags&unix.O_PATH != 0 {
		return false, fmt.Errorf("descriptor %d is not readable: it only names a file (O_PATH)", fd)
	}
	mode := flags & unix.O_ACCMODE
	if mode != unix.O_RDONLY && mode != unix.O_RDWR {
		return false, fmt.Errorf("descriptor %d is not readable: it is open for writing only", fd)
	}
	// A read into no buffers ends before the driver is asked, but not where
	// there is no read operation: an epoll, a namespace, /dev/kvm.
	if err := raw.ReadNothing(fd); err != nil {
		return false, fmt.Errorf("descriptor %d is not readable: it is not a stream of bytes or packets: %w", fd, err)
	}
	return mode == unix.O_RDWR, nil
}

// classify says what kind of thing a readable descriptor is, or why a guest
// cannot read it after all.
func classify(fd int) (Kind, error) {
	var st unix.Stat_t
	if err := raw.Fstat(fd, &st); err != nil {
		return 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return 0, fmt.Errorf("descriptor %d is a directory; it cannot be read", fd)
	case unix.S_IFREG, unix.S_IFBLK:
		return File, nil
	case unix.S_IFIFO:
		return Pipe, nil
	case unix.S_IFSOCK:
		return classifySocket(fd)
	case unix.S_IFCHR:
		var settings unix.Termios
		if raw.Ioctl(fd, unix.TCGETS, &settings) == nil {
			return TTY, nil
		}
		if tap, err := isTap(fd); tap || err != nil {
			return Tap, err
		}
	}
	return classifyPollable(fd)
}

// classifyPollable tells Null from Other by asking an epoll of its own.
func classifyPollable(fd int) (Kind, error) {
	ep, err := raw.EpollCreate()
	if err != nil {
		return 0, fmt.Errorf("descriptor %d: epoll_create: %w", fd, err)
	}
	defer raw.Close(ep)
	event := unix.EpollEvent{Events: unix.EPOLLIN}
	switch err := raw.EpollAdd(ep, fd, &event); err {
	case nil:
		return Other, nil
	case unix.EPERM:
		return Null, nil
	default:
		return 0, fmt.Errorf("descriptor %d cannot be waited for: %w", fd, err)
	}
}

// classifySocket tells sockets apart, and refuses those that no read can ever
// succeed on.
func classifySocket(fd int) (Kind, error) {
	typ, err := raw.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return 0, fmt.Errorf("descriptor %d: %w", fd, err)
	}
	if typ != unix.SOCK_STREAM && typ != unix.SOCK_SEQPACKET {
		return Packet, nil
	}
	if listens, err := raw.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err == nil && listens != 0 {
		return 0, fmt.Errorf("descriptor %d is a listening socket; pass a connection", fd)
	}
	if raw.HasPeer(fd) == unix.ENOTCONN {
		// A connection that has ended has no peer either, but it can
		// still be read, to its end at least; poll tells the two apart.
		p := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		if n, err := raw.PollNow(&p); err == nil && (n == 0 || p.Revents&(unix.POLLIN|unix.POLLERR) == 0) {
			return 0, fmt.Errorf("descriptor %d is a socket that is not connected; pass a connection", fd)
		}
	}
	if typ == unix.SOCK_SEQPACKET {
		return SeqPacket, nil
	}
	return Stream, nil
}
