package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkServe measures, from nothing running, how long it takes from the connect to
// the first byte of the answer of a warm web server: under gocat serve, and, of each
// backend, started with its network by whoever holds the socket. One that runs already
// is there to compare with. They take turns.
func BenchmarkServe(b *testing.B) {
	type subject struct {
		name  string
		start func() (end func())
		port  int
		times []time.Duration
	}
	var all []*subject
	for _, backend := range []string{"spt", "hvt"} {
		dir := b.TempDir()
		image, port := filepath.Join(dir, "web."+backend), freePort(b)
		gocat(b, "build", "--ca-certs=none", "--target="+backend, "-o", image, "../../examples/web").wantSuccess(b)
		warm := filepath.Join(dir, "web")
		if r := gocat(b, "seal", "-o", warm, "--warm-at=listening", "--net=service=user,idle=10ms", fmt.Sprintf("--publish=%d:80", port), image); r.status != 0 {
			b.Fatalf("%+v", r)
		}
		s := serveGuest(b, port, warm)
		held, f := listener(b, "tcp")
		always := freePort(b)
		serveGuest(b, always, "--idle=1h", fmt.Sprintf("--publish=%d:80", always), warm)
		all = append(all, &subject{name: backend + " running", port: always, start: func() func() { return func() {} }}, &subject{name: backend + " serve", port: port, start: func() func() {
			s.until("no guest", func() bool { return s.guest() == 0 })
			time.Sleep(2 * time.Millisecond) // its network has noticed
			return func() {}
		}}, &subject{name: backend + " activated", port: held, start: func() func() {
			done := make(chan bool)
			go func() {
				for end := time.Now().Add(time.Minute); time.Now().Before(end); {
					if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}, 1000); n == 1 {
						break
					}
				}
				guest, _ := activated(b, []*os.File{f}, "", warm)
				guest.Wait()
				done <- true
			}()
			return func() { <-done }
		}})
	}
	for b.Loop() {
		for _, s := range all {
			end := s.start()
			begin := time.Now()
			c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", s.port))
			if err == nil {
				io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
				_, err = c.Read(make([]byte, 1))
			}
			s.times = append(s.times, time.Since(begin))
			if err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
			io.Copy(io.Discard, c)
			c.Close()
			end()
		}
	}
	for _, s := range all {
		slices.Sort(s.times)
		at := func(q float64) time.Duration {
			return s.times[int(q*float64(len(s.times)-1))].Round(10 * time.Microsecond)
		}
		b.Logf("%-14s median %v, 90%% %v, 99%% %v of %d", s.name, at(.5), at(.9), at(.99), len(s.times))
	}
}
