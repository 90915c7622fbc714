package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"gocat/internal/oci/state"
)

// bootstrap is what create tells init, in a file that it inherits.
type bootstrap struct {
	Spec    *specs.Spec
	State   specs.State
	NoPivot bool
	Keyring bool           // make a session keyring
	Pause   bool           // it is a sandbox's, which only waits
	Blocks  map[string]int // the guest's block devices, by descriptor
	Console int            // descriptor of the console's socket, or none
	KVM     int            // of /dev/kvm, or none
	Gocat   int            // of the program gocat, or none
}

// none is a descriptor that there is not.
const none = -1

// Descriptors that init is started with; others follow.
const (
	bootstrapFD = 3 + iota
	messagesFD
	listenerFD
)

// message is one between create and init, which say one after the other:
//
//	create  the process is in its control group
//	init    what networks the guest has devices for, and that hooks may run
//	create  the networks, with their taps
//	init    all is ready
//	create  it is written down
//
// Each waits for the other's, and ends with it. The second and third are left out
// where there is neither a network nor a hook. Where the engine makes the networks when
// create has ended, start sends the third.
type message struct {
	Error string       `json:",omitempty"` // init's last
	Ready bool         `json:",omitempty"` // init's last but one
	Wants *state.Wants `json:",omitempty"` // init's first
	Later bool         `json:",omitempty"` // the networks come when the container is started
	Links []link       `json:",omitempty"` // the networks, in the order of their descriptors
	Args  []string     `json:",omitempty"` // the arguments that tell the guest of them
}

// link is a guest's network.
type link struct {
	Device string
	MAC    string
	MTU    int
}

// conn is an end of the socket between create and init.
type conn struct{ *os.File }

// newConn returns both ends.
func newConn() (ours, theirs conn, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ours, theirs, os.NewSyscallError("socketpair", err)
	}
	return conn{os.NewFile(uintptr(pair[0]), "init")}, conn{os.NewFile(uintptr(pair[1]), "create")}, nil
}

// maxMessage is the size in bytes of the longest message: a guest has at most 63
// devices.
const maxMessage = 64 << 10

func (c conn) send(m *message, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(int(c.Fd()), b, rights, nil, unix.MSG_NOSIGNAL))
}

// errGone means that the other process has ended.
var errGone = errors.New("the other process has ended")

// receive returns a message with the descriptors that came with it.
func (c conn) receive() (*message, []int, error) {
	b := make([]byte, maxMessage)
	control := make([]byte, unix.CmsgSpace(4*64))
	n, cn, flags, _, err := unix.Recvmsg(int(c.Fd()), b, control, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, cn, flags, _, err = unix.Recvmsg(int(c.Fd()), b, control, unix.MSG_CMSG_CLOEXEC)
	}
	switch {
	case err == unix.ECONNRESET || err == nil && n == 0:
		return nil, nil, errGone
	case err != nil:
		return nil, nil, os.NewSyscallError("recvmsg", err)
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return nil, nil, io.ErrShortBuffer
	}
	m := &message{}
	if err := json.Unmarshal(b[:n], m); err != nil {
		return nil, nil, err
	}
	var fds []int
	if cn > 0 {
		all, err := unix.ParseSocketControlMessage(control[:cn])
		if err != nil {
			return nil, nil, err
		}
		for i := range all {
			some, err := unix.ParseUnixRights(&all[i])
			if err != nil {
				return nil, nil, err
			}
			fds = append(fds, some...)
		}
	}
	if m.Error != "" {
		return nil, nil, errors.New(m.Error)
	}
	return m, fds, nil
}

// memfd returns a file in memory with v as JSON, at its beginning.
func memfd(v any) (*os.File, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("config", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "config")
	if _, err = f.Write(b); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("configuration in memory: %w", err)
	}
	return f, nil
}
