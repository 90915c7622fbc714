package main

import (
	"fmt"
	"net"
	"os"
	"testing"

	"gocat/internal/testhost"
)

// squat listens where the processes of a shared network would, and has take serve
// who comes there.
func squat(t *testing.T, id string, take func(*net.UnixConn)) (network string) {
	t.Helper()
	id = fmt.Sprint(id, "-", os.Getpid())
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: fmt.Sprintf("@gocat-net/%d/%s", os.Getuid(), id)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			take(c)
		}
	}()
	return "--net=stdin=user,network=" + id
}

// Another user who has a network's place before its user does gets nothing of it: no
// guest begins, and no descriptor is passed.
func TestSharedNetworkOfAnother(t *testing.T) {
	testhost.NeedRoot(t, "to be another user for a moment")
	passed := make(chan int, 10)
	var network string
	testhost.Unprivileged(t, func() {
		network = squat(t, "other", func(c *net.UnixConn) {
			_, n, _, _, _ := c.ReadMsgUnix(make([]byte, 1<<16), make([]byte, 1<<12))
			passed <- n
			c.Close()
		})
	})
	gocat(t, "run", "--mem=2", network).wantError(t, "gocat", "user 65534 has taken its place; choose another name")
	if n := <-passed; n != 0 {
		t.Errorf("%d bytes of descriptors were passed", n)
	}
}

// A process of the user's own that is no network and has the place of one: a line says
// so, after a while.
func TestSharedNetworkOfNone(t *testing.T) {
	testhost.Slow(t)
	for name, take := range map[string]func(*net.UnixConn){
		"garbage": func(c *net.UnixConn) { c.Write([]byte("\x1b[2J{")); c.Close() },
		"silent":  func(*net.UnixConn) {},
		"gone":    func(c *net.UnixConn) { c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gocat(t, "run", "--mem=2", squat(t, name, take)).wantError(t, "gocat", "the process that serves it does not answer")
		})
	}
}
