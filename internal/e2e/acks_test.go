package e2e

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// A server acknowledges what it receives even if it has nothing to answer.
func TestAcknowledged(t *testing.T) {
	testhost.NeedRoot(t, "to make namespaces and taps")
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			startServer(t, target, goImage(t, target, "../goguests/speed"), "speed: ready\n", "--ipv4=10.0.0.2/24", "--", ":80")
			conn, err := net.DialTimeout("tcp", "10.0.0.2:80", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			info := func() *unix.TCPInfo {
				raw, err := conn.(*net.TCPConn).SyscallConn()
				if err != nil {
					t.Fatal(err)
				}
				var info *unix.TCPInfo
				raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
				if err != nil {
					t.Fatal(err)
				}
				return info
			}
			const requests = 50
			for range requests {
				if _, err := io.WriteString(conn, "G"); err != nil {
					t.Fatal(err)
				}
				for begin := time.Now(); info().Unacked != 0; time.Sleep(time.Millisecond) {
					if time.Since(begin) > 10*time.Second {
						t.Fatal("what the server does not answer is not acknowledged")
					}
				}
			}
			t.Logf("%d frames in, %d sent again", info().Segs_in, info().Total_retrans)
		})
	}
}
