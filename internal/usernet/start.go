package usernet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"gocat/internal/beside"
	"gocat/internal/device"
)

func init() {
	device.UserNetwork = device.UserNetworkMaker{Check: check, Start: start, Command: command}
}

// check checks options.
func check(spec string, publish []string) (mtu uint16, err error) {
	c, _, err := (&Request{Spec: spec, Publish: publish}).Check()
	return uint16(c.MTU), err
}

// start starts the network's process for a device and returns the guest's end of
// the socket between them, not blocking and close-on-exec. The process is no
// child of this one by then: a guest that gocat becomes waits for nobody. It ends
// when all copies of the guest's end are closed.
func start(d *device.UserDevice) (fd int, err error) { return begin(d, false) }

// begin is start, or Keep.
func begin(d *device.UserDevice, keep bool) (fd int, err error) {
	program, args, err := command(d)
	if err != nil {
		return -1, err
	}
	if keep {
		args = append(args, "--keep")
	}
	pair, err := frames()
	if err != nil {
		return -1, err
	}
	defer func() {
		if err != nil {
			unix.Close(pair[0])
		}
	}()
	theirs := os.NewFile(uintptr(pair[1]), "frames")
	defer theirs.Close()
	messages, messagesIn, err := os.Pipe()
	if err != nil {
		return -1, err
	}
	defer messages.Close()
	ready, readyIn, err := os.Pipe()
	if err != nil {
		messagesIn.Close()
		return -1, err
	}
	defer ready.Close()
	passed, drop, err := passedFiles(d)
	if err != nil {
		return -1, err
	}
	defer drop()
	env := []string{}
	for _, name := range passedVariables {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	p, err := os.StartProcess(program, args, &os.ProcAttr{
		Env:   env,
		Files: append([]*os.File{nil, nil, messagesIn, theirs, readyIn}, passed...),
	})
	messagesIn.Close()
	readyIn.Close()
	if err != nil {
		return -1, fmt.Errorf("could not start the user network: %w", err)
	}
	text, _ := io.ReadAll(io.LimitReader(messages, 1<<16))
	n, _ := ready.Read(make([]byte, 1))
	p.Wait() // which fails where SIGCHLD is ignored: the byte says it all
	if n != 1 {
		if line := strings.TrimPrefix(oneLine(string(text)), Prefix); line != "" {
			return -1, errors.New(line)
		}
		return -1, errNoReply
	}
	if d.Say != nil {
		for line := range strings.Lines(string(text)) {
			d.Say(strings.TrimSuffix(line, "\n"))
		}
	}
	return pair[0], nil
}

// passedFiles returns copies of the descriptors that were passed to this process for
// the device's published ports; nil is none. Drop closes them, and what was passed: it
// is not the guest's.
func passedFiles(d *device.UserDevice) (files []*os.File, drop func(), err error) {
	n, err := Passed(os.Getenv, os.Getpid(), d.MayBePassed())
	if err != nil {
		return nil, nil, err
	}
	for i := range n {
		var f *os.File
		number := device.FirstPassed + i
		// What is closed on exec has not come through one: it is this process's own.
		flags, err := unix.FcntlInt(uintptr(number), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 && !slices.Contains(d.Taken, number) {
			if fd, err := unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, device.UserPassed+n); err == nil {
				f = os.NewFile(uintptr(fd), "passed")
			}
		}
		files = append(files, f)
	}
	return files, func() {
		for i, f := range files {
			if f != nil {
				f.Close()
				unix.Close(device.FirstPassed + i)
			}
		}
	}, nil
}

func request(d *device.UserDevice) *Request {
	r := &Request{Spec: d.Spec, Publish: d.Publish, Device: d.Name, Guest: d.Guest, MAC: d.MAC, Verbose: d.Say != nil}
	if d.MayBePassed() > 0 {
		r.Taken = d.Taken
	}
	return r
}

// command is what is executed for a device's network: path and arguments.
func command(d *device.UserDevice) (path string, args []string, err error) {
	path = d.Program
	if path == "" {
		path, err = Program()
	}
	return path, request(d).Args(), err
}

// Program finds gocat-net.
func Program() (string, error) {
	path, err := beside.Program("gocat-net")
	if err != nil {
		return "", fmt.Errorf("a user network takes %w", err)
	}
	return path, nil
}
