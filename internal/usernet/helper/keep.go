package helper

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"gocat/internal/usernet"
	"gocat/internal/usernet/gateway"
)

// keep serves one guest after the other, until who started the network closes its
// socket. Files are that socket, and those of published ports. Between guests the
// process only waits for the first of them to be connected to: it takes nothing, so what
// comes waits in the kernel for the next guest.
func (s *server) keep(c *net.UnixConn, m *join, files []*os.File) error {
	config, publish, err := m.Check()
	if err == nil && len(files) != len(publish)+1 {
		err = fmt.Errorf("%d descriptors for %d published ports", len(files), len(publish))
	}
	if err == nil && len(publish) == 0 {
		err = errors.New("no port is published, so nothing would start the guest")
	}
	if err != nil {
		return s.refuse(c, err)
	}
	starter := int(files[0].Fd())
	unix.SetNonblock(starter, false)
	poll := []unix.PollFd{{Fd: int32(starter), Events: unix.POLLRDHUP}}
	for _, f := range files[1:] {
		poll = append(poll, unix.PollFd{Fd: int32(f.Fd()), Events: unix.POLLIN})
		unix.SetNonblock(int(f.Fd()), true)
	}
	say := s.say(m, &config, publish, &gateway.Joined{Name: m.Guest, IPv4: config.Guest4(0)})
	if err := send(c, joined{Say: say}); err != nil {
		return err
	}
	c.Close()
	for {
		frames, err := nextFrames(starter)
		if frames == nil || err != nil {
			return err
		}
		if gone, err := waitFor(poll); gone || err != nil {
			return err
		}
		// The guest starts while this process makes ready for it.
		if _, err := unix.Write(starter, []byte{usernet.Wanted}); err != nil {
			return os.NewSyscallError("write", err)
		}
		g := gateway.Guest{Name: m.Guest, MAC: m.MAC, Frames: frames, Outbound: config.Outbound, Idle: config.Idle,
			OnIdle: func() { unix.Write(starter, []byte{usernet.Idle}) }}
		for i, p := range publish {
			l, err := listen(p, files[i+1])
			if err != nil {
				return fmt.Errorf("publish %v: %w", p, err)
			}
			g.Listens = append(g.Listens, l)
		}
		j, err := s.network.Join(g)
		if err != nil {
			return err
		}
		<-j.Done
	}
}

// nextFrames receives the network's end of the next guest's frames; nil says that none
// will come.
func nextFrames(starter int) (*os.File, error) {
	b, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	for {
		n, k, _, _, err := unix.Recvmsg(starter, b, control, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case n == 0:
			return nil, nil
		}
		messages, err := unix.ParseSocketControlMessage(control[:k])
		if err != nil || len(messages) != 1 {
			return nil, errors.New("a message without a guest's frames")
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			return nil, errors.New("a message without a guest's frames")
		}
		unix.SetNonblock(fds[0], true)
		return os.NewFile(uintptr(fds[0]), "frames"), nil
	}
}

// waitFor waits until there is something to take at one of the sockets behind the first,
// or until the other side of the first has gone.
func waitFor(poll []unix.PollFd) (gone bool, err error) {
	for {
		_, err := unix.Poll(poll, -1)
		if err != nil && err != unix.EINTR {
			return false, os.NewSyscallError("poll", err)
		}
		if err == nil {
			return poll[0].Revents != 0, nil
		}
	}
}
