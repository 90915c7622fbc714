package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/testhost"
)

// TestGracefulEnd asks a web server to end by SIGTERM while several clients keep
// it busy: every answer that it has begun is whole, and its status is its own.
func TestGracefulEnd(t *testing.T) {
	testhost.Slow(t)
	testhost.NeedRoot(t, "to make namespaces and taps")
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			img := goImage(t, target, "../goguests/serve")
			inspected := command("inspect", img).Run(t).Stdout
			if rings := strings.Contains(inspected, "RNG1"); rings != (target.String() == "hvt") {
				t.Errorf("asks for the network ring: %v\n%s", rings, inspected)
			}
			p, r := startServer(t, target, img, "serve: ready\n", "--ipv4=10.0.0.2/24")

			const clients = 8
			var whole atomic.Int64
			errs := make(chan error, clients)
			for range clients {
				conn, err := net.DialTimeout("tcp", "10.0.0.2:80", 30*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(2 * time.Minute))
				go func() { errs <- keepAsking(conn, &whole) }()
			}
			for start := time.Now(); whole.Load() < 10*clients; time.Sleep(time.Millisecond) {
				if time.Since(start) > time.Minute {
					t.Fatalf("%d answers", whole.Load())
				}
			}
			p.Signal(unix.SIGTERM)
			for range clients {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			rest, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("serve: ended: %d answers, <nil>\n", whole.Load())
			if status := testhost.Status(p.Wait()); status != 0 || string(rest) != want {
				t.Errorf("status %d, %q, expected %q", status, rest, want)
			}
		})
	}
}

// keepAsking makes requests on a connection until the server ends that between two
// answers, and counts those that are whole.
func keepAsking(conn net.Conn, whole *atomic.Int64) error {
	in := bufio.NewReader(conn)
	for {
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: guest\r\n\r\n"); err != nil {
			return ending(err)
		}
		if _, err := in.Peek(1); err != nil {
			return ending(err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("in an answer: %w", err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "first part, second part\n" {
			return fmt.Errorf("in an answer: %q, %w", b, err)
		}
		whole.Add(1)
		if resp.Close {
			return nil
		}
	}
}

// ending is the error of a connection unless it is how a server ends one.
func ending(err error) error {
	if err == io.EOF || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return err
}
