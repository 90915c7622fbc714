package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gocat/internal/image"
	"gocat/internal/testhost"
)

// TestHTTPServer has a server serve many requests over a tap, on several
// connections at once, and looks at what memory it uses: examples/web, which is
// plain net/http, and examples/httpd, which has a network stack of its own.
func TestHTTPServer(t *testing.T) {
	testhost.Slow(t)
	testhost.NeedRoot(t, "to make namespaces and taps")
	t.Run("web", func(t *testing.T) {
		serve(t, "../../examples/web", []string{"--ipv4=10.0.0.2/24"}, "web: listening on [::]:80\n")
	})
	t.Run("httpd", func(t *testing.T) {
		serve(t, "../../examples/httpd", []string{"--addr", "10.0.0.2/24"}, "httpd: listening on http://10.0.0.2:80\n")
	})
}

func serve(t *testing.T, dir string, args []string, ready string) {
	download := exec.Command("go", "mod", "download")
	download.Dir = dir
	if out, err := download.CombinedOutput(); err != nil {
		testhost.Skip(t, fmt.Sprintf("%s needs modules that cannot be had: %v: %s", dir, err, out))
	}
	batches := 50 // of 40 requests
	if big() {
		batches = 250
	}
	for _, target := range backends {
		t.Run(target.String(), func(t *testing.T) {
			needKVM(t, target.String())
			img := goImage(t, target, dir)
			p, _ := startServer(t, target, img, ready, args...)

			ask(t, 1)
			start, warm := time.Now(), 0
			for i := range batches {
				if i == batches/5 {
					warm = resident(t, p.Pid)
				}
				ask(t, 4)
			}
			end := resident(t, p.Pid)
			t.Logf("%d requests in %.1f s, resident %d KiB after a fifth of them, %d at the end",
				40*batches, time.Since(start).Seconds(), warm, end)
			if most := warm + 8<<10; end > most {
				t.Errorf("resident: %d KiB after a fifth of the requests, %d at the end", warm, end)
			}
			if !p.Running() {
				t.Errorf("the server has ended")
			}
		})
	}
}

// serverTap makes tap100, with the address 10.0.0.1, in a network namespace of this
// goroutine's.
func serverTap(t *testing.T) {
	t.Helper()
	testhost.Netns(t)
	testhost.Tap(t, "tap100", unix.IFF_TAP|unix.IFF_NO_PI)
	testhost.Address(t, "tap100", netip.MustParsePrefix("10.0.0.1/24"))
	testhost.Up(t, "tap100", 1500)
}

// startServer starts a server with args on serverTap's tap and waits until it has
// printed ready. What it prints then is read from r.
func startServer(t *testing.T, target image.Target, img, ready string, args ...string) (p *testhost.Process, r *os.File) {
	t.Helper()
	serverTap(t)
	r, w := testhost.Pipe(t)
	c := command("run", "--backend="+target.String(), "--mem=128", "--net", "service=tap100", img)
	c.Args = append(c.Args, args...)
	c.Files = []*os.File{testhost.Null(t), w, w}
	p = c.Start(t)
	w.Close()
	testhost.Expect(t, r, ready)
	return p, r
}

// ask opens connections, from this goroutine for its network namespace, and has
// ten requests answered on each, all connections at the same time.
func ask(t *testing.T, connections int) {
	t.Helper()
	errs := make(chan error, connections)
	for range connections {
		conn, err := net.DialTimeout("tcp", "10.0.0.2:80", 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		go func() {
			in := bufio.NewReader(conn)
			for i := range 10 {
				var err error
				if i%2 == 0 {
					err = exchange(conn, in, "GET", "/", nil, []byte("Hello from a Go program without an operating system\n"))
				} else {
					body := testhost.Random(1 << (5 + i)) // up to 16 KiB: several packets
					err = exchange(conn, in, "POST", "/echo", body, body)
				}
				if err != nil {
					errs <- fmt.Errorf("request %d: %w", i, err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range connections {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// exchange makes a request and compares the answer.
func exchange(conn net.Conn, in *bufio.Reader, method, path string, body, want []byte) error {
	req, err := http.NewRequest(method, "http://10.0.0.2"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
		return fmt.Errorf("%s %s: %s, %d bytes, want %d", method, path, resp.Status, len(got), len(want))
	}
	return nil
}
