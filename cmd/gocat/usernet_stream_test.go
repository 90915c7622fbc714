package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Go guest sends and receives streams through its user network, with the longest
// frames that there are; and both at once, while the other side reads nothing before it
// has sent all.
func TestUserNetworkStreams(t *testing.T) {
	for _, backend := range []string{"spt", "hvt"} {
		t.Run(backend, func(t *testing.T) {
			if backend == "hvt" {
				needKVM(t)
			}
			image := filepath.Join(t.TempDir(), "network."+backend)
			gocat(t, "build", "--target="+backend, "-o", image, "../../internal/goguests/network").wantSuccess(t)
			sink, source, both := freePort(t), freePort(t), freePort(t)
			cmd := exec.Command(program, "run", "--backend="+backend, "--mem=256", "--net=service=user", fmt.Sprintf("--publish=%d:81", sink),
				fmt.Sprintf("--publish=%d:82", source), fmt.Sprintf("--publish=%d:83", both), image)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "network: ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			for range 3 {
				const size = 24 << 20 // twice that is more than all buffers on the way have
				for _, test := range []struct {
					name                 string
					port, send, question int
					want                 int64
				}{
					{"to the guest", sink, size, 0, int64(len(fmt.Sprintln(size)))},
					{"from the guest", source, 0, size, size},
					{"both", both, size, size, 2 * size},
				} {
					c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", test.port))
					if err != nil {
						t.Fatal(err)
					}
					c.SetDeadline(time.Now().Add(2 * time.Minute))
					if test.question > 0 {
						fmt.Fprintln(c, test.question)
					}
					_, err = c.Write(make([]byte, test.send))
					if test.question == 0 {
						c.(*net.TCPConn).CloseWrite()
					}
					if n, rerr := io.Copy(io.Discard, c); err != nil || rerr != nil || n != test.want {
						t.Errorf("%s: %v; %d bytes, want %d, %v", test.name, err, n, test.want, rerr)
					}
					c.Close()
				}
			}
		})
	}
}
