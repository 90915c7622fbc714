package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a pair of sockets of AF_UNIX.
func pair(typ int) [2]int { return must(unix.Socketpair(unix.AF_UNIX, typ, 0)) }

func pipe() (r, w int) {
	var p [2]int
	must(0, unix.Pipe(p[:]))
	return p[0], p[1]
}

// rights passes descriptors over sockets.
func rights() {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
		fmt.Println("rights", typ)
		p := pair(typ)
		r, w := pipe()
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		f := must(l.(*net.TCPListener).File())
		must(0, unix.Sendmsg(p[0], []byte("two"), unix.UnixRights(w, int(f.Fd())), nil, 0))
		unix.Close(w)
		f.Close()
		must(0, unix.Sendmsg(p[0], []byte("none"), nil, nil, 0))

		b, oob := make([]byte, 100), make([]byte, 100)
		n, nn, flags, _, err := unix.Recvmsg(p[1], b, oob, 0)
		fmt.Println(string(b[:n]), nn, flags&unix.MSG_CTRUNC, number(err))
		fds := parse(oob[:nn])
		fmt.Println(len(fds))

		// They are the same files as those that were sent.
		must(unix.Write(fds[0], []byte("through the pipe")))
		unix.Close(fds[0])
		fmt.Println(string(must(io.ReadAll(os.NewFile(uintptr(r), "r")))))
		l.Close()
		again := must(net.FileListener(os.NewFile(uintptr(fds[1]), "listener")))
		fmt.Println(again.Addr().String() == l.Addr().String())
		client, server := dial(again)
		client.Close()
		fmt.Println(must(io.ReadAll(server)))
		server.Close()
		again.Close()

		n, nn, _, _, err = unix.Recvmsg(p[1], b, oob, 0)
		fmt.Println(string(b[:n]), nn, number(err))

		// Those for which there is no room are closed.
		r, w = pipe()
		must(0, unix.Sendmsg(p[0], []byte("x"), unix.UnixRights(w, w, w), nil, 0))
		unix.Close(w)
		n, nn, flags, _, err = unix.Recvmsg(p[1], b, oob[:unix.CmsgLen(4)], 0)
		fmt.Println(n, nn, flags&unix.MSG_CTRUNC != 0, number(err))
		for _, fd := range parse(oob[:nn]) {
			unix.Close(fd)
		}
		fmt.Println(must(unix.Read(r, b)))
		// So are those that nobody receives.
		r, w = pipe()
		must(0, unix.Sendmsg(p[0], []byte("x"), unix.UnixRights(w), nil, 0))
		unix.Close(w)
		fmt.Println(number(unix.Sendmsg(p[0], []byte("x"), unix.UnixRights(999), nil, 0)))
		unix.Close(p[0])
		unix.Close(p[1])
		fmt.Println(must(unix.Read(r, b)))
		unix.Close(r)
	}
}

// get reads from a descriptor.
func get(fd int) string {
	b := make([]byte, 100)
	return string(b[:must(unix.Read(fd, b))])
}

func parse(oob []byte) []int {
	messages := must(unix.ParseSocketControlMessage(oob))
	if len(messages) != 1 {
		fmt.Println(len(messages), "control messages")
		return nil
	}
	return must(unix.ParseUnixRights(&messages[0]))
}

// again makes a call that a signal interrupts once more: the Go runtime's own come
// where the processor is busy.
func again(call func() (int, error)) (n int, err error) {
	for n, err = call(); err == unix.EINTR; {
		n, err = call()
	}
	return n, err
}

// polling has poll and ppoll wait for sockets, pipes and files.
func polling() {
	p := pair(unix.SOCK_STREAM)
	r, w := pipe()
	null := must(unix.Open("/dev/null", unix.O_RDWR, 0))
	poll := func(what string, timeout int, fds ...unix.PollFd) {
		begin := time.Now()
		n, err := again(func() (int, error) { return unix.Poll(fds, timeout) })
		fmt.Print("poll ", what, " ", n, " ", number(err))
		for _, f := range fds {
			fmt.Printf(" %#x", f.Revents)
		}
		fmt.Println("", timeout <= 0 || n > 0 || time.Since(begin) >= time.Duration(timeout)*time.Millisecond)
	}
	const in, out = unix.POLLIN, unix.POLLOUT
	fd := func(fd int, events int16) unix.PollFd { return unix.PollFd{Fd: int32(fd), Events: events} }
	poll("nothing", 20, fd(p[0], in), fd(r, in))
	poll("room", -1, fd(p[0], in|out), fd(w, out))
	poll("others", 0, fd(null, in|out), fd(-1, in), fd(999, in))
	poll("a pipe alone", 20, fd(r, in))
	for what, f := range map[string]func(){"socket": func() { unix.Write(p[1], []byte("x")) }, "pipe": func() { unix.Write(w, []byte("x")) }} {
		go func() {
			time.Sleep(20 * time.Millisecond)
			f()
		}()
		fds := []unix.PollFd{fd(p[0], in), fd(r, in)}
		n, err := again(func() (int, error) { return unix.Poll(fds, -1) })
		if what == "pipe" {
			fds[0], fds[1] = fds[1], fds[0]
		}
		fmt.Println("waited", n, number(err), fds[0].Revents, fds[1].Revents)
		for i, from := range []int{p[0], r} {
			if (i == 0) == (what == "socket") {
				must(unix.Read(from, make([]byte, 1)))
			}
		}
	}
	n, err := again(func() (int, error) {
		return unix.Ppoll([]unix.PollFd{fd(p[0], in)}, &unix.Timespec{Nsec: 1000}, nil)
	})
	fmt.Println("ppoll", n, number(err))
	unix.Close(p[1])
	unix.Close(w)
	poll("the ends", -1, fd(p[0], in), fd(r, in))

	l := must(net.Listen("tcp", "127.0.0.1:0"))
	f := must(l.(*net.TCPListener).File())
	poll("a listener", 0, fd(int(f.Fd()), in))
	client := must(net.Dial("tcp", l.Addr().String()))
	poll("a connection to accept", -1, fd(int(f.Fd()), in))
	client.Close()
	for _, c := range []io.Closer{f, l} {
		c.Close()
	}
	for _, fd := range []int{p[0], r, null} {
		unix.Close(fd)
	}
}

func selecting() {
	p := pair(unix.SOCK_STREAM)
	r, w := pipe()
	try := func(what string, timeout *unix.Timeval, read, write []int) {
		var rs, ws unix.FdSet
		most := 0
		for _, fd := range read {
			rs.Set(fd)
			most = max(most, fd)
		}
		for _, fd := range write {
			ws.Set(fd)
			most = max(most, fd)
		}
		n, err := again(func() (int, error) { return unix.Select(most+1, &rs, &ws, nil, timeout) })
		fmt.Print("select ", what, " ", n, " ", number(err))
		for _, fd := range read {
			fmt.Print(" ", rs.IsSet(fd))
		}
		for _, fd := range write {
			fmt.Print(" ", ws.IsSet(fd))
		}
		fmt.Println()
	}
	at := func(us int64) *unix.Timeval { return &unix.Timeval{Usec: us} }
	try("nothing", at(10_000), []int{p[0], r}, nil)
	try("a pipe alone", at(10_000), []int{r}, nil)
	try("room", nil, []int{p[0], r}, []int{p[0], w})
	unix.Write(w, []byte("x"))
	try("a pipe", nil, []int{p[0], r}, nil)
	try("the same alone", nil, []int{r}, []int{w})
	unix.Write(p[1], []byte("x"))
	try("both", nil, []int{p[0], r}, nil)
	unix.Close(r)
	try("what is closed", at(0), []int{p[0], r}, nil)
	for _, fd := range []int{p[0], p[1], w} {
		unix.Close(fd)
	}
}

// duplicates has dup2 and dup3 make descriptors of sockets and others.
func duplicates() {
	p := pair(unix.SOCK_STREAM)
	r, w := pipe()
	const first, second = 100, 101
	fmt.Println("dup2", number(unix.Dup2(p[0], first)), number(unix.Dup2(w, second)))
	unix.Close(p[0])
	unix.Close(w)
	must(unix.Write(first, []byte("socket")))
	must(unix.Write(second, []byte("pipe")))
	fmt.Println(get(p[1]), get(r))
	// Over each other: what was there is closed.
	third := must(unix.FcntlInt(first, unix.F_DUPFD, 110))
	fmt.Println(third, number(unix.Dup3(second, first, 0)), number(unix.Dup3(third, second, unix.O_CLOEXEC)))
	must(unix.Write(first, []byte("pipe")))
	must(unix.Write(second, []byte("socket")))
	fmt.Println(get(p[1]), get(r))
	fmt.Println(number(unix.Dup3(first, first, 0)), number(unix.Dup2(first, first)), number(unix.Dup2(999, first)), number(unix.Dup2(second, second)))
	// Flags are those of the open file.
	unix.SetNonblock(second, true)
	fmt.Println(must(unix.FcntlInt(uintptr(third), unix.F_GETFL, 0))&unix.O_NONBLOCK != 0)
	unix.Close(first)
	fmt.Println(get(r) == "")
	unix.Close(second)
	unix.Close(third)
	fmt.Println(get(p[1]) == "")
	unix.Close(r)
	unix.Close(p[1])

	f := must(os.CreateTemp("", "offset"))
	defer os.Remove(f.Name())
	fmt.Fprint(f, strings.Repeat("x", 10))
	again := must(unix.Dup(int(f.Fd())))
	fmt.Println(must(unix.Seek(again, 0, io.SeekCurrent)))
	must(unix.Seek(again, 3, io.SeekStart))
	fmt.Println(len(must(io.ReadAll(f))))
	unix.Close(again)
	f.Close()
}

// unixFiles binds to names that no file can be made of.
func unixFiles() {
	for _, name := range []string{"/nowhere/socket", "/dev/null", "/dev/null/socket", "#/tmp/socket"} {
		_, err := net.Listen("unix", name)
		fmt.Println("unix", name, number(err))
	}
}
