package helper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"gocat/internal/isolate"
	"gocat/internal/usernet"
)

// join is what gocat-net start tells the process that serves a network. With the
// message go the descriptors: the guest's frames, and the sockets of published
// ports in their order.
type join struct {
	usernet.Request
	Nameservers []netip.AddrPort // of the first guest the network takes these and what follows
	Route6      bool
	Together    string      // why the serving process has no namespaces of its own; empty if it has
	Untried     isolate.Set // layers for which an earlier process was killed
}

// joined is the answer: an error, or what to tell a user who wants to know.
type joined struct {
	Error string
	Say   []string
}

// maxMessage bounds a message in bytes.
const maxMessage = 64 << 10

// answerTimeout is how long a process waits for the other's message.
const answerTimeout = 10 * time.Second

// send sends a message with descriptors.
func send(c *net.UnixConn, m any, fds ...int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return errors.New("the options are too long")
	}
	c.SetWriteDeadline(time.Now().Add(answerTimeout))
	_, _, err = c.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	return err
}

// receive receives a message, and the descriptors that came with it as files,
// which are the caller's.
func receive(c *net.UnixConn, m any) (files []*os.File, err error) {
	b := make([]byte, maxMessage)
	control := make([]byte, unix.CmsgSpace(4*(usernet.MaxPublish+2)))
	c.SetReadDeadline(time.Now().Add(answerTimeout))
	n, k, flags, _, err := c.ReadMsgUnix(b, control)
	if err != nil {
		return nil, err
	}
	if messages, err := unix.ParseSocketControlMessage(control[:k]); err == nil {
		for i := range messages {
			fds, err := unix.ParseUnixRights(&messages[i])
			if err != nil {
				continue
			}
			for _, fd := range fds {
				unix.SetNonblock(fd, true)
				files = append(files, os.NewFile(uintptr(fd), "received"))
			}
		}
	}
	switch {
	case n == 0:
		err = io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = errors.New("a message that is too long")
	default:
		err = json.Unmarshal(b[:n], m)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// printable is a line of an answer without what would make a terminal do something:
// the process that wrote it faces a hostile guest.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// unixConn makes a connection of an inherited descriptor.
func unixConn(fd uintptr) (*net.UnixConn, error) {
	f := os.NewFile(fd, "control")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("descriptor %d is no Unix socket", fd)
	}
	return u, nil
}

// peer is the user at the other end of a connection.
func peer(c *net.UnixConn) (uid uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	if control := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); control != nil {
		return 0, control
	}
	if err != nil {
		return 0, err
	}
	return cred.Uid, nil
}
